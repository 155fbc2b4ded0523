"""`GET /api/clusters/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from clustercockpit.clusters.documents import cluster_document
from clustercockpit.errors import InvalidInputError
from clustercockpit.http.door import guarded_router
from clustercockpit.reference_json import encode

if TYPE_CHECKING:
    from clustercockpit.site import Site


def cluster_routers(site: Site) -> list[APIRouter]:
    router = guarded_router("main-api", prefix="/api")

    @router.get("/clusters/")
    def clusters(request: Request) -> Response:
        found = site.clusters.clusters()
        if "cluster" in request.query_params:
            name = request.query_params["cluster"]
            found = [cluster for cluster in found if cluster.name == name]
            if not found:
                raise InvalidInputError(f"unknown cluster: {name}")
        document = {"clusters": [cluster_document(cluster) for cluster in found]}
        return Response(encode(document), media_type="application/json")

    return [router]
