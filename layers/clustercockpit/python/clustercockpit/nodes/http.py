"""Node states over REST: `/api/nodestate/`, and the same under the metric store's credential at
`/api/healthcheck` (ruling 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from clustercockpit.http.bodies import MAX_REPORT_BYTES, read_body
from clustercockpit.http.door import guarded_router

if TYPE_CHECKING:
    from clustercockpit.site import Site


def node_routers(site: Site) -> list[APIRouter]:
    api = guarded_router("main-api", prefix="/api")
    metrics = guarded_router("metric-store-api", prefix="/api")

    async def report(request: Request) -> Response:
        body = await read_body(request, limit=MAX_REPORT_BYTES)
        await run_in_threadpool(site.node_service.report, body)
        return Response(status_code=200)

    api.add_api_route("/nodestate/", report, methods=["POST", "PUT"])
    metrics.add_api_route("/healthcheck/", report, methods=["POST"])
    return [api, metrics]
