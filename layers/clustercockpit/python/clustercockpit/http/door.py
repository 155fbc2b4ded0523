"""The door: which rule guards a route, who is calling, and may they.

How to use it in a room that answers HTTP::

    router = guarded_router("main-api", prefix="/api")        # rule names: access/rules.py

    @router.post("/jobs/start_job/", status_code=201)         # `/api/jobs/start_job` is the same route
    def start_job(request: Request, user: CurrentUser) -> Response:
        site = current_site(request)                          # or close over the site in a router factory

    app = application(site, [router, other_router])            # http/application.py: the whole stack

Routes are matched in the order given, fixed paths before `{id}`. Authentication runs before the body is
read. A route that has no rule is answered 404 whatever its path (and `application` refuses to build).
Raise the domain's errors (`clustercockpit.errors`), or `http.answers.Refusal(422, "…")` where the reference
wants a status of its own; answer with `http.answers.JsonAnswer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from clustercockpit.access.authentication import NOBODY_IN_PARTICULAR
from clustercockpit.access.model import User
from clustercockpit.access.rules import RULES, AddressFilter, Credential, Rule
from clustercockpit.access.sessions import COOKIE
from clustercockpit.errors import NotAuthenticatedError
from clustercockpit.http.address import client_address
from clustercockpit.http.answers import JSON_PREFIXES, error_answer, not_found_answer

if TYPE_CHECKING:
    from clustercockpit.access.authentication import Authentication
    from clustercockpit.site import Site

CATCH_ALL = "/{path:path}"
USER_KEY = "clustercockpit.user"
AUTHENTICATION_KEY = "clustercockpit.authentication"


class GuardedRoute(APIRoute):
    """A route with a rule, found with and without its trailing slash."""

    rule: Rule

    def __init__(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(path, *args, **kwargs)
        pattern = self.path_regex.pattern.removesuffix("$").removesuffix("/")
        self.path_regex = re.compile(pattern + "/?$")


_ROUTE_CLASSES: dict[str, type[GuardedRoute]] = {
    name: type("GuardedRoute", (GuardedRoute,), {"rule": rule}) for name, rule in RULES.items()
}


def guarded_router(rule: str, *, prefix: str = "") -> APIRouter:
    """A router whose routes all stand under `rule` (a key of `access.rules.RULES`)."""
    return APIRouter(prefix=prefix, route_class=_ROUTE_CLASSES[rule], redirect_slashes=False)


def current_user(request: HTTPConnection) -> User:
    """Who calls. NotAuthenticatedError on a public route."""
    user = request.scope.get(USER_KEY)
    if not isinstance(user, User):
        raise NotAuthenticatedError("unauthorized")
    return user


def optional_user(request: HTTPConnection) -> User | None:
    """Who calls a public page, if anyone is logged in. May ask the store: call it from a `def` endpoint."""
    if USER_KEY in request.scope:
        return current_user(request)
    authentication: Authentication = request.scope[AUTHENTICATION_KEY]
    try:
        return identify(authentication, request.scope, RULES["pages"])
    except NotAuthenticatedError:
        return None


def current_site(request: HTTPConnection) -> Site:
    site: Site = request.app.state.site
    return site


def _user_dependency(request: Request) -> User:
    return current_user(request)


def _optional_user_dependency(request: Request) -> User | None:
    return optional_user(request)


CurrentUser = Annotated[User, Depends(_user_dependency)]
OptionalUser = Annotated[User | None, Depends(_optional_user_dependency)]


def bearer_token(headers: Headers) -> str:
    """The token of a request: X-Auth-Token first, else Authorization with an optional `Bearer `. Any other
    scheme is taken for a token, and refused as one."""
    return headers.get("x-auth-token") or headers.get("authorization", "").removeprefix("Bearer ")


def identify(authentication: Authentication, scope: Scope, rule: Rule) -> User:
    """Who calls, under this rule. NotAuthenticatedError if nobody who may: a lack of roles is told as 401, as
    the reference does, for its clients do not expect 403 here."""
    policy = authentication.policy
    if policy.authentication_disabled:
        return NOBODY_IN_PARTICULAR
    headers = Headers(scope=scope)
    user = None
    for credential in rule.credentials:
        if credential is Credential.TOKEN:
            token = bearer_token(headers)
            if token:
                user = authentication.bearer(token)
        else:
            user = authentication.session(HTTPConnection(scope).cookies.get(COOKIE, ""))
        if user is not None:
            return _admitted(authentication, scope, rule, user)
    raise NotAuthenticatedError(rule.missing)


def remembered(authentication: Authentication, scope: Scope, rule: Rule) -> User | None:
    """As `identify`, for a token verified a moment ago, without blocking; None if it takes more."""
    if authentication.policy.authentication_disabled:
        return NOBODY_IN_PARTICULAR
    if rule.credentials[0] is not Credential.TOKEN:
        return None
    user = authentication.remembered_bearer(bearer_token(Headers(scope=scope)))
    return _admitted(authentication, scope, rule, user) if user is not None else None


def _admitted(authentication: Authentication, scope: Scope, rule: Rule, user: User) -> User:
    policy = authentication.policy
    if rule.addresses is not AddressFilter.NONE:
        address = client_address(scope, policy.trusted_proxies)
        allowed = policy.api_allowed if rule.addresses is AddressFilter.API else policy.metric_allowed
        if not allowed.admits(address):
            raise NotAuthenticatedError(f"unknown ip: {address}")
    if rule.name == "metric-store-api" and policy.legacy_metric_roles:
        rule = RULES["metric-store-api-legacy"]
    if not rule.admits(user):
        raise NotAuthenticatedError("unauthorized")
    return user


class Door:
    """Innermost middleware. Finds the route, applies its rule, and lets through or answers."""

    def __init__(self, app: ASGIApp, routes: Iterable[Any], site: Site) -> None:
        self.app = app
        self.routes = routes
        self.site = site
        self.may_serve = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        rule = self._rule(scope)
        if not isinstance(rule, Rule):
            await rule(scope, receive, send)
            return
        if not self.may_serve:
            await run_in_threadpool(self._check)
        source = self.site.configuration_source
        if source.due:
            await run_in_threadpool(source.current)
        authentication = self.site.authentication
        scope[AUTHENTICATION_KEY] = authentication
        if not rule.public:
            scope[USER_KEY] = remembered(authentication, scope, rule) or await run_in_threadpool(
                identify, authentication, scope, rule
            )
        await self.app(scope, receive, send)

    def _check(self) -> None:
        """A server checks its keys before it listens; a function cannot be kept from starting, so it answers
        nothing until they are good."""
        if self.site.settings.auth_secret_arn:
            self.site.check_start()
        self.may_serve = True

    def _rule(self, scope: Scope) -> Rule | Response:
        """The rule of the route that will answer, or the answer where none will."""
        for_programs = scope["path"].startswith(JSON_PREFIXES)
        allowed: set[str] = set()
        for route in self.routes:
            match, _ = route.matches(scope)
            if match is Match.NONE:
                continue
            if route.path == CATCH_ALL and (match is Match.PARTIAL or (allowed and for_programs)):
                continue  # the pages take any address: that does not make it one of theirs
            if match is Match.FULL:
                rule = getattr(route, "rule", None)
                return rule if isinstance(rule, Rule) else not_found_answer(scope["path"])
            allowed |= route.methods or set()
        if not allowed:
            return not_found_answer(scope["path"])
        message = f"method {scope['method']} is not supported here"
        return error_answer(405, message, {"Allow": ", ".join(sorted(allowed))})
