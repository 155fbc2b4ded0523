"""The door: default deny, credentials, roles, addresses, and what every answer carries."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request

from clustercockpit.access.authentication import Authentication
from clustercockpit.access.keys import fresh_keys, private_key, public_key
from clustercockpit.access.model import Role, User
from clustercockpit.access.policy import AccessPolicy, AddressList
from clustercockpit.access.rules import RULES
from clustercockpit.access.sessions import SessionCookies
from clustercockpit.access.tokens import TokenSigner, TokenVerifier
from clustercockpit.errors import ConflictError, NotFoundError
from clustercockpit.http.answers import JsonAnswer, Refusal
from clustercockpit.http.application import application
from clustercockpit.http.door import CurrentUser, OptionalUser, guarded_router
from clustercockpit.settings import Settings
from clustercockpit.site import Site

KEYS = fresh_keys()
SIGNER = TokenSigner(private_key("k", KEYS.private), 3600)
SESSION_KEY = b"0123456789abcdef0123456789abcdef"


class NoEpochs:
    def epoch(self, username: str) -> int:
        return 0

    def raise_epoch(self, username: str) -> int:
        return 1

    def keep_projects(self, username: str, projects: Any) -> None:
        raise AssertionError("small cookies only")

    def kept_projects(self, username: str) -> frozenset[str]:
        raise AssertionError("small cookies only")


class TestSite(Site):
    """A site whose policy a test sets."""

    __test__ = False
    policy = AccessPolicy()

    @property
    def authentication(self) -> Authentication:  # type: ignore[override]
        if not hasattr(self, "_authentication"):
            self._authentication = Authentication(
                policy=lambda: self.policy,
                tokens=TokenVerifier(public_key("k", KEYS.public)),
                sessions=lambda: SessionCookies([SESSION_KEY], 3600, NoEpochs()),
                account=lambda name: User(name, frozenset({Role.API})) if name == "known" else None,
            )
        return self._authentication


def routers() -> list[APIRouter]:
    made = []
    for rule in RULES:
        router = guarded_router(rule, prefix=f"/{rule}")

        @router.api_route("/who/", methods=["GET", "POST"])
        def who(user: OptionalUser) -> JsonAnswer:
            return JsonAnswer(user.username if user else None)

        made.append(router)
    main = guarded_router("main-api", prefix="/api")

    @main.get("/jobs/missing")
    def missing() -> None:
        raise NotFoundError("no such job")

    @main.get("/jobs/double")
    def double() -> None:
        raise ConflictError("a job <exists> & runs")

    @main.get("/jobs/special")
    def special() -> None:
        raise Refusal(409, "own status")

    @main.get("/jobs/broken")
    def broken() -> None:
        raise RuntimeError("secret /etc/shadow")

    @main.get("/jobs/number/{n}")
    def number(n: int, user: CurrentUser) -> int:
        return n

    @main.get("/jobs/{id}")
    def job(id: str) -> str:
        return id

    @main.post("/jobs/start_job/", status_code=201)
    async def start(request: Request) -> str:
        return (await request.body()).decode()

    @main.post("/jobs/{id}")
    def post_job(id: str) -> str:
        return "id"

    @main.get("/long")
    def long() -> str:
        return "x" * 5000

    made.append(main)
    return made


@pytest.fixture
def site() -> TestSite:
    return TestSite(Settings())


@pytest.fixture
async def client(site: TestSite) -> Any:
    transport = httpx.ASGITransport(application(site, routers()), client=("192.0.2.1", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def token(*roles: str, name: str = "alice") -> dict[str, str]:
    return {"X-Auth-Token": SIGNER.issue(User(name, frozenset(Role(r) for r in roles)))}


def cookie(site: TestSite, *roles: str) -> dict[str, str]:
    value = site.authentication.sessions.start(User("alice", frozenset(Role(r) for r in roles)))
    return {"Cookie": f"session={value}"}


ROLE_SETS = [
    roles
    for size in range(4)
    for roles in itertools.combinations(["api", "user", "manager", "support", "admin"], size)
]


def expected(rule: str, roles: tuple[str, ...], credential: str) -> bool:
    """The permission table of the specification, written a second time and differently."""
    have = set(roles)
    if rule == "public":
        return True
    if credential == "cookie" and not have:
        return False
    if credential == "cookie":
        return {"pages": True, "frontend": True, "config": "admin" in have}.get(rule, False)
    api_alone = have == {"api"}
    return {
        "pages": True,
        "main-api": api_alone or have >= {"api", "admin"},
        "metric-store-api": api_alone or have >= {"api", "admin"},
        "metric-store-api-legacy": api_alone or ("api" in have and bool(have & {"user", "manager", "admin"})),
        "user-api": api_alone or ("api" in have and len(have) > 1),
    }.get(rule, False)


async def test_matrix_of_rules_credentials_and_roles(client: httpx.AsyncClient, site: TestSite) -> None:
    wrong = []
    for rule, roles, credential in itertools.product(RULES, ROLE_SETS, ["token", "cookie", "none"]):
        headers = {"token": token(*roles), "cookie": cookie(site, *roles), "none": {}}[credential]
        answer = await client.get(f"/{rule}/who/", headers=headers)
        want = (
            200 if (rule == "public" if credential == "none" else expected(rule, roles, credential)) else 401
        )
        if answer.status_code != want:
            wrong.append((rule, roles, credential, answer.status_code))
        if answer.status_code == 401:
            assert answer.json()["status"] == "Unauthorized"
    assert wrong == []


async def test_an_unknown_role_beside_api_is_a_second_role(client: httpx.AsyncClient) -> None:
    import jwt

    key = private_key("k", KEYS.private)
    for roles, status in ((["api"], 200), (["api", "api"], 200), (["api", "robot"], 401), (["API"], 200)):
        value = jwt.encode({"sub": "x", "roles": roles}, key, algorithm="EdDSA")
        answer = await client.get("/main-api/who", headers={"Authorization": f"Bearer {value}"})
        assert answer.status_code == status, roles


async def test_a_bad_token_is_final_on_pages(client: httpx.AsyncClient, site: TestSite) -> None:
    good = cookie(site, "user")
    assert (await client.get("/pages/who", headers=good)).status_code == 200
    answer = await client.get("/pages/who", headers={**good, "Authorization": "Basic abc"})
    assert answer.status_code == 401
    # On a public page it is only nobody.
    assert (await client.get("/public/who", headers={"Authorization": "Basic abc"})).json() is None
    assert (await client.get("/public/who", headers=good)).json() == "alice"


async def test_missing_credential_in_the_references_words(client: httpx.AsyncClient) -> None:
    answer = await client.get("/main-api/who")
    assert answer.content == b'{"status":"Unauthorized","error":"no user for secured check"}\n'
    assert answer.headers["content-type"] == "application/json"
    assert (await client.get("/frontend/who")).json()["error"] == "unauthorized"


async def test_address_list_believes_no_header(client: httpx.AsyncClient, site: TestSite) -> None:
    site.policy = AccessPolicy(api_allowed=AddressList.parse(["198.51.100.0/24"]))
    lie = {**token("api"), "X-Real-Ip": "198.51.100.7", "X-Forwarded-For": "198.51.100.7"}
    answer = await client.get("/main-api/who", headers=lie)
    assert (answer.status_code, answer.json()["error"]) == (401, "unknown ip: 192.0.2.1")
    # The list is for the main API alone.
    assert (await client.get("/user-api/who", headers=lie)).status_code == 200
    site.policy = AccessPolicy(
        api_allowed=AddressList.parse(["198.51.100.0/24"]), trusted_proxies=AddressList.parse(["192.0.2.1"])
    )
    assert (await client.get("/main-api/who", headers=lie)).status_code == 200
    twice = {**token("api"), "X-Forwarded-For": "198.51.100.7, 203.0.113.5"}
    assert (await client.get("/main-api/who", headers=twice)).status_code == 401


async def test_disabled_authentication_gives_a_usable_administrator(
    client: httpx.AsyncClient, site: TestSite
) -> None:
    site.policy = AccessPolicy(authentication_disabled=True)
    for rule in RULES:
        assert (await client.get(f"/{rule}/who")).json() is not None


async def test_validate_user_takes_roles_from_the_account(client: httpx.AsyncClient, site: TestSite) -> None:
    site.policy = AccessPolicy(validate_user=True)
    assert (await client.get("/main-api/who", headers=token("user", name="known"))).status_code == 200
    answer = await client.get("/main-api/who", headers=token("api", name="stranger"))
    assert (answer.status_code, answer.json()["error"]) == (401, "unknown user")


async def test_errors_have_one_form(client: httpx.AsyncClient) -> None:
    api = token("api")
    answers = {p: await client.get(f"/api/jobs/{p}", headers=api) for p in ("missing", "double", "special")}
    assert answers["missing"].content == b'{"status":"Not Found","error":"no such job"}\n'
    assert answers["double"].status_code == 422
    assert b"a job \\u003cexists\\u003e \\u0026 runs" in answers["double"].content
    assert answers["double"].json()["status"] == "Unprocessable Entity"
    assert answers["special"].status_code == 409
    bad = await client.get("/api/jobs/number/seven", headers=api)
    assert bad.status_code == 400
    assert "path.n" in bad.json()["error"]


async def test_a_crash_is_a_500_that_tells_nothing(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get("/api/jobs/broken", headers=token("api"))
    assert answer.status_code == 500
    assert "shadow" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret /etc/shadow" in caplog.text
    assert answer.headers["x-frame-options"] == "DENY"


async def test_slashes_make_no_difference_and_never_redirect(client: httpx.AsyncClient) -> None:
    api = token("api")
    for path in ("/api/jobs/start_job/", "/api/jobs/start_job"):
        answer = await client.post(path, headers=api, content=b"x")
        assert (answer.status_code, answer.json()) == (201, "x")
    for path in ("/api/jobs/7", "/api/jobs/7/"):
        assert (await client.get(path, headers=api)).json() == "7"
    assert (await client.get("/api/jobs//", headers=api)).status_code == 404


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/nothing")
    assert answer.status_code == 404
    assert answer.json() == {"error": "the requested endpoint does not exist", "status": "Resource not found"}
    assert "text/html" in (await client.get("/nothing")).headers["content-type"]
    answer = await client.put("/api/jobs/7")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
    assert answer.json()["status"] == "Method Not Allowed"
    assert (await client.head("/api/jobs/7")).status_code == 405


async def test_a_route_without_a_rule_is_not_reachable(site: TestSite) -> None:
    bare = APIRouter()
    bare.add_api_route("/open", lambda: "hello")
    with pytest.raises(ValueError, match="has no rule"):
        application(site, [bare])
    app = application(site, routers())
    app.add_api_route("/late", lambda: "hello")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        assert (await client.get("/late")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 404


async def test_applications_combine_under_one_stack(site: TestSite) -> None:
    one, two = guarded_router("public"), guarded_router("public")
    one.add_api_route("/a", lambda: "a", methods=["GET"])
    two.add_api_route("/{rest:path}", lambda rest: rest, methods=["GET"])
    app = application(site, [application(site, [one]).router, application(site, [two]).router])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        assert (await client.get("/a")).json() == "a"
        assert (await client.get("/b/c")).json() == "b/c"


async def test_security_headers_on_every_answer(client: httpx.AsyncClient) -> None:
    for path in ("/public/who", "/nothing", "/main-api/who", "/api/jobs/7"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "script-src 'self';" in policy
        for part in ("frame-ancestors 'none'", "object-src 'none'", "base-uri 'self'"):
            assert part in policy
        assert "strict-transport-security" not in headers
    secure = await client.get("https://test/public/who")
    assert secure.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


async def test_cors(client: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://a", "Access-Control-Request-Method": "GET"}
    answer = await client.options("/api/jobs/7", headers=asked)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET"
    for refused in (
        {**asked, "Access-Control-Request-Method": "DELETE"},
        {**asked, "Access-Control-Request-Headers": "X-Auth-Token"},
    ):
        answer = await client.options("/api/jobs/7", headers=refused)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
    plain = await client.get("/public/who", headers={"Origin": "https://a"})
    assert plain.headers["access-control-allow-origin"] == "*"
    assert "Origin" in plain.headers["vary"]
    assert "access-control-allow-credentials" not in plain.headers


async def test_cross_site_requests_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/public/who", headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.text) == (403, "cross-site request blocked\n")
    for site_header in ("same-site", "same-origin", "none"):
        answer = await client.post("/public/who", headers={"Sec-Fetch-Site": site_header})
        assert answer.status_code == 200
    assert (await client.get("/public/who", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200


async def test_long_answers_are_compressed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/long", headers={**token("api"), "Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == "x" * 5000
