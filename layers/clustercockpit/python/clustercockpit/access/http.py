"""Logging in and out, and who one is."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from clustercockpit.access.login import Credentials, safe_redirect
from clustercockpit.access.model import Role, User
from clustercockpit.access.rules import Capability, may
from clustercockpit.access.sessions import COOKIE
from clustercockpit.errors import NotAuthenticatedError, RateLimitedError
from clustercockpit.http.address import client_address, is_secure
from clustercockpit.http.answers import JsonAnswer, Refusal, error_answer
from clustercockpit.http.door import CurrentUser, guarded_router
from clustercockpit.http.forms import form_values, wants_json

if TYPE_CHECKING:
    from clustercockpit.site import Site

# Where everybody has to pass again: the seconds until one attempt is regained.
_RETRY_AFTER = {"Retry-After": "180"}


def routers(site: Site) -> list[APIRouter]:
    return [_login(site), _frontend(site)]


def described(site: Site, user: User) -> dict[str, Any]:
    """What the browser application needs to know about who is using it."""
    off = site.access_policy.authentication_disabled
    return {
        "username": user.username,
        "name": user.name,
        "roles": [role.value for role in Role if role in user.roles],
        "projects": sorted(user.projects),
        "authlevel": user.level,
        "epoch": 0 if off else site.authentication.sessions.epoch_of(user.username),
    }


def _login(site: Site) -> APIRouter:
    router = guarded_router("public")

    # With and without a trailing slash: some gateways keep `/login` for themselves.
    @router.post("/login/")
    async def log_in(request: Request) -> Response:
        form = await form_values(request)
        return await run_in_threadpool(_logged_in, site, request, form)

    @router.api_route("/logout/", methods=["GET", "POST"])
    def log_out(request: Request) -> Response:
        """Tolerant: without a session, or with one that cannot be read, the answer is the same."""
        answer: Response
        if wants_json(request):
            answer = JsonAnswer({"msg": "Logout successful"})
        elif request.method == "POST":
            answer = _page("Bye - ClusterCockpit", "Logout successful", 200)
        else:
            answer = RedirectResponse("/login", 302)
        answer.delete_cookie(COOKIE, path="/", secure=_secure(site, request), httponly=True, samesite="lax")
        answer.headers["cache-control"] = "no-store"
        return answer

    return router


def _logged_in(site: Site, request: Request, form: dict[str, str]) -> Response:
    policy = site.access_policy
    if policy.authentication_disabled:
        raise Refusal(404, "authentication is switched off: there is nothing to log in to")
    sessions = site.authentication.sessions
    address = client_address(request.scope, policy.trusted_proxies)
    redirect = form.get("redirect", "")
    try:
        user = site.login.user(Credentials(form.get("username", ""), form.get("password", ""), address))
    except RateLimitedError as error:
        if wants_json(request):
            return error_answer(429, str(error), _RETRY_AFTER)
        return _page("Login failed - ClusterCockpit", str(error), 401, redirect)
    except NotAuthenticatedError as error:
        if wants_json(request):
            return error_answer(401, str(error))
        return _page("Login failed - ClusterCockpit", str(error), 401, redirect)
    value = sessions.start(user)
    answer: Response
    if wants_json(request):
        answer = JsonAnswer(described(site, user))
    else:
        answer = RedirectResponse(quote(safe_redirect(redirect), safe="/?&=%:;,@!$'()*+~#[]-._"), 302)
    answer.set_cookie(
        COOKIE,
        value,
        max_age=sessions.max_age,
        path="/",
        secure=_secure(site, request),
        httponly=True,
        samesite="lax",
    )
    answer.headers["cache-control"] = "no-store"
    return answer


def _secure(site: Site, request: Request) -> bool:
    return is_secure(request.scope, site.access_policy.trusted_proxies)


def _frontend(site: Site) -> APIRouter:
    router = guarded_router("frontend", prefix="/frontend")

    @router.get("/me/")
    def me(user: CurrentUser) -> Response:
        return JsonAnswer(described(site, user), headers={"cache-control": "no-store"})

    @router.get("/jwt/")
    def token(user: CurrentUser, username: str = "") -> Response:
        """A token for oneself, or as an administrator for anyone with an account."""
        if username != user.username and not may(user, Capability.ADMINISTRATION):
            raise Refusal(403, "only administrators may ask for the token of someone else")
        account = site.accounts.get(username)
        if account is None:
            raise Refusal(404, f"getting user failed: no user {username}")
        return PlainTextResponse(
            site.token_signer.issue(account.user()), headers={"cache-control": "no-store"}
        )

    return router


def _page(title: str, message: str, status: int, redirect: str = "") -> HTMLResponse:
    """A log-in form that works without any script."""
    return HTMLResponse(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head>
<body><main><h1>ClusterCockpit</h1><p role="alert">{html.escape(message)}</p>
<form method="post" action="/login/">
<input type="hidden" name="redirect" value="{html.escape(safe_redirect(redirect))}">
<p><label>User name <input name="username" autocomplete="username" required></label></p>
<p><label>Password
<input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button>Log in</button></p></form></main></body></html>
""",
        status,
        {"cache-control": "no-store"},
    )
