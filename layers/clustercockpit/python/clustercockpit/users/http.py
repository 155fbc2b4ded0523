"""Administration of accounts, over REST (`/api`) and for the browser (`/config`), and UI settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from clustercockpit.access.model import Role
from clustercockpit.access.rules import Capability, may
from clustercockpit.errors import ConflictError, InvalidInputError, NotFoundError
from clustercockpit.http.answers import JsonAnswer, Refusal
from clustercockpit.http.bodies import read_body
from clustercockpit.http.door import CurrentUser, guarded_router
from clustercockpit.http.forms import form_values
from clustercockpit.reference_json import Record, Text, decode
from clustercockpit.users.model import Account, assignable_role

if TYPE_CHECKING:
    from clustercockpit.site import Site
    from clustercockpit.users.accounts import Accounts

MAX_NOTICE_BYTES = 10_000
NOTICE_KEY = "config/notice.txt"

_EDITS = ("add-role", "remove-role", "add-project", "remove-project")
_EDIT_SHAPE = Record({name: Text() for name in _EDITS})


def routers(site: Site) -> list[APIRouter]:
    return [_api(site), _config(site), _frontend(site)]


def listed(account: Account) -> dict[str, Any]:
    """An account as the reference lists it; never the password's hash."""
    return {
        "username": account.username,
        "name": account.name,
        "email": account.email,
        "roles": [role.value for role in Role if role in account.roles],
        "projects": list(account.projects),
        "authType": 0,
        "authSource": int(account.source),
    }


def _list(site: Site, request: Request) -> Response:
    just_some = request.query_params.get("not-just-user") == "true"
    return JsonAnswer([listed(account) for account in site.accounts.all(not_just_user=just_some)])


def _edit(accounts: Accounts, username: str, edits: Mapping[str, str]) -> str:
    """Carry out the first edit named; returns its title. 400 if there is none, 422 if a rule forbids it."""
    operations: dict[str, tuple[str, str, Callable[[str, str], Account]]] = {
        "add-role": ("Add Role", "adding role", accounts.add_role),
        "remove-role": ("Remove Role", "removing role", accounts.remove_role),
        "add-project": ("Add Project", "adding project", accounts.add_project),
        "remove-project": ("Remove Project", "removing project", accounts.remove_project),
    }
    for name, (title, doing, operation) in operations.items():
        if edits.get(name):
            try:
                operation(username, edits[name])
            except (InvalidInputError, ConflictError, NotFoundError) as error:
                raise Refusal(422, f"{doing} failed: {error}") from None
            return title
    raise InvalidInputError(
        "no operation specified: must provide add-role, remove-role, add-project, or remove-project"
    )


def _api(site: Site) -> APIRouter:
    router = guarded_router("main-api", prefix="/api")

    @router.get("/users/")
    def users(request: Request, user: CurrentUser) -> Response:
        if not user.has(Role.ADMIN):
            raise Refusal(403, "only admins are allowed to fetch a list of users")
        return _list(site, request)

    @router.post("/user/{id}")
    async def edit(request: Request, id: str, user: CurrentUser) -> Response:
        if not user.has(Role.ADMIN):
            raise Refusal(403, "only admins are allowed to update a user")
        edits = decode(await read_body(request), _EDIT_SHAPE)
        title = await run_in_threadpool(_edit, site.accounts, id, edits)
        return JsonAnswer({"msg": f"{title} Success for user {id}"})

    return router


def _config(site: Site) -> APIRouter:
    router = guarded_router("config", prefix="/config")

    @router.get("/roles/")
    def roles() -> Response:
        return JsonAnswer([role.value for role in Role if role is not Role.ANONYMOUS])

    @router.get("/users/")
    def users(request: Request) -> Response:
        return _list(site, request)

    @router.api_route("/users/", methods=["POST", "PUT"])
    async def add(request: Request) -> Response:
        form = await form_values(request)

        def store() -> None:
            role = assignable_role(form.get("role", ""))
            if role is Role.MANAGER and not form.get("project"):
                raise InvalidInputError("a manager needs a project to manage")
            try:
                site.accounts.add(
                    form.get("username", ""),
                    password=form.get("password", ""),
                    roles=frozenset({role}),
                    name=form.get("name", ""),
                    email=form.get("email", ""),
                    project=form.get("project", ""),
                )
            except ConflictError as error:
                raise Refusal(422, f"adding user failed: {error}") from None

        await run_in_threadpool(store)
        return PlainTextResponse(f"User {form['username']} successfully created!\n")

    @router.delete("/users/")
    async def remove(request: Request) -> Response:
        form = await form_values(request)

        def delete() -> None:
            try:
                site.accounts.remove(form.get("username", ""))
            except ConflictError as error:
                raise Refusal(422, f"deleting user failed: {error}") from None

        await run_in_threadpool(delete)
        return Response(status_code=200)

    @router.post("/user/{id}")
    async def edit(request: Request, id: str) -> Response:
        form = await form_values(request)
        title = await run_in_threadpool(_edit, site.accounts, id, form)
        return JsonAnswer({"msg": f"{title} Success"})

    @router.post("/notice/")
    async def notice(request: Request) -> Response:
        content = (await form_values(request)).get("new-content", "").strip()
        if len(content.encode()) > MAX_NOTICE_BYTES:
            raise InvalidInputError("notice content exceeds maximum length of 10000 characters")
        await run_in_threadpool(
            site.data_objects.put, NOTICE_KEY, content.encode(), content_type="text/plain; charset=utf-8"
        )
        return PlainTextResponse(f"{'Update' if content else 'Empty'} Notice Content Success")

    return router


def _frontend(site: Site) -> APIRouter:
    router = guarded_router("frontend", prefix="/frontend")

    @router.get("/configuration/")
    def configuration(user: CurrentUser) -> Response:
        """The UI settings that hold for the caller: the site's defaults, and over them the caller's own."""
        return JsonAnswer(site.ui_settings.of(user.username))

    @router.post("/configuration/")
    async def configure(request: Request, user: CurrentUser) -> Response:
        form = await form_values(request)
        await run_in_threadpool(
            site.ui_settings.set, user.username, form.get("key", ""), form.get("value", "")
        )
        return PlainTextResponse("success")

    @router.get("/notice/")
    def notice() -> Response:
        try:
            content, _ = site.data_objects.get(NOTICE_KEY)
        except NotFoundError:
            content = b""
        return JsonAnswer({"notice": content.decode("utf-8", "replace")})

    @router.get("/users/{id}")
    def person(id: str, user: CurrentUser) -> Response:
        """Name and mail of someone: one's own, or for those who may know others'."""
        if id != user.username and not may(user, Capability.OTHER_PEOPLES_NAMES):
            raise Refusal(403, "your role does not show you other people's names")
        account = site.accounts.get(id)
        if account is None:
            raise NotFoundError(f"no user {id}")
        return JsonAnswer({"username": id, "name": account.name, "email": account.email})

    return router
