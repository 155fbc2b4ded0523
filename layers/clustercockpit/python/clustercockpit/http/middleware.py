"""What every answer goes through, outermost first: compression, CORS, security headers, the cross-site
guard, recovery. Plain ASGI: no request is copied, streams stay streams."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clustercockpit.access.policy import AccessPolicy
from clustercockpit.errors import ClusterCockpitError
from clustercockpit.http.address import is_secure
from clustercockpit.http.answers import Refusal, answer_for, error_answer

log = logging.getLogger(__name__)

CORS_METHODS = ("GET", "POST", "HEAD", "OPTIONS")
CORS_HEADERS = ("x-requested-with", "content-type", "authorization", "origin")

# No inline script, nothing from another host. `style` attributes are allowed (templates set them), style
# elements are not; `data:` images are the icons in style sheets.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "style-src-attr 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
        "base-uri 'self'",
    )
)

SECURITY_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("content-security-policy", CONTENT_SECURITY_POLICY),
)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# A portal on another site opens a session by a form that posts its token here: the token is the proof.
CROSS_SITE_EXEMPT = frozenset({"/jwt-login", "/jwt-login/"})


class Recovery:
    """Turns errors into answers. An unexpected one is logged whole and told as nothing but a 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except (ClusterCockpitError, Refusal) as error:
            if started:
                raise
            await answer_for(error)(scope, receive, send)
        except Exception:
            log.exception("unexpected error in %s %r", scope["method"], scope["path"])
            if started:
                raise
            await error_answer(500, "internal error; the log of this installation says more")(
                scope, receive, send
            )


class Cors:
    """Any origin, no credentials, GET POST HEAD OPTIONS, as the reference."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(headers)(scope, receive, send)
            return
        allowed = "origin" in headers and scope["method"] in CORS_METHODS

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if allowed:
                    answer["access-control-allow-origin"] = "*"
            await send(message)

        await self.app(scope, receive, marked)

    @staticmethod
    def _preflight(headers: Headers) -> Response:
        answer = Response(status_code=200)
        answer.headers["vary"] = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        method = headers["access-control-request-method"].upper()
        asked = [name.strip() for name in headers.get("access-control-request-headers", "").split(",")]
        asked = [name for name in asked if name]
        if "origin" in headers and method in CORS_METHODS and all(n.lower() in CORS_HEADERS for n in asked):
            answer.headers["access-control-allow-origin"] = "*"
            answer.headers["access-control-allow-methods"] = method
            if asked:
                answer.headers["access-control-allow-headers"] = ", ".join(asked)
        return answer


class SecurityHeaders:
    def __init__(self, app: ASGIApp, policy: Callable[[], AccessPolicy]) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS:
                    answer[name] = value
                policy = self.policy()
                if policy.strict_transport_security and is_secure(scope, policy.trusted_proxies):
                    answer["strict-transport-security"] = "max-age=31536000; includeSubDomains"
            await send(message)

        await self.app(scope, receive, hardened)


class CrossSiteGuard:
    """Refuses what another site makes a browser send, for every method that changes something."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in _SAFE_METHODS
            and Headers(scope=scope).get("sec-fetch-site") == "cross-site"
            and scope["path"] not in CROSS_SITE_EXEMPT
        ):
            await PlainTextResponse("cross-site request blocked\n", 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)
