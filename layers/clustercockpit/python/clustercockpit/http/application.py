"""Builds an ASGI application: routers with rules, and the stack around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response

from clustercockpit.access.policy import AccessPolicy
from clustercockpit.access.rules import Rule
from clustercockpit.errors import ClusterCockpitError
from clustercockpit.http.answers import Refusal, answer_for, error_answer, not_found_answer
from clustercockpit.http.door import Door
from clustercockpit.http.middleware import Cors, CrossSiteGuard, Recovery, SecurityHeaders

if TYPE_CHECKING:
    from clustercockpit.site import Site


def application(
    site: Site,
    routers: Iterable[APIRouter],
    *,
    title: str = "ClusterCockpit",
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """An application of the given routers, in the order in which they are asked.

    Raises ValueError for a route that has no rule: make its router with `guarded_router`.
    """
    app = FastAPI(
        title=title,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.site = site
    for router in routers:
        for route in router.routes:
            if not isinstance(getattr(route, "rule", None), Rule):
                raise ValueError(  # noqa: TRY004 — not a matter of its type
                    f"{route!r} has no rule: nothing may be reachable without one"
                )
            app.router.routes.append(route)

    def policy() -> AccessPolicy:
        return site.authentication.policy

    # The last added is the outermost.
    app.add_middleware(Door, routes=app.router.routes, site=site)
    app.add_middleware(Recovery)
    app.add_middleware(CrossSiteGuard)
    app.add_middleware(SecurityHeaders, policy=policy)
    app.add_middleware(Cors)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    app.add_exception_handler(ClusterCockpitError, _domain_error)
    app.add_exception_handler(Refusal, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


async def _domain_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ClusterCockpitError | Refusal)
    return answer_for(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return error_answer(400, f"{where}: {first['msg']}")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return not_found_answer(request.url.path)
    return error_answer(error.status_code, str(error.detail), dict(error.headers or {}))
