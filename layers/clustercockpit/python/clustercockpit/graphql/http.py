"""`POST /query`. `spec/graphql-api.md` 1.1 to 1.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from clustercockpit.http.bodies import Body
from clustercockpit.http.door import CurrentUser, guarded_router

if TYPE_CHECKING:
    from clustercockpit.site import Site

JSON: Final = "application/json"
GRAPHQL: Final = "application/graphql-response+json"


def graphql_router(site: Site) -> APIRouter:
    router = guarded_router("pages")

    @router.api_route("/query", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def query(request: Request, body: Body, user: CurrentUser) -> Response:
        content_type = response_type(request.headers.get("accept", ""))
        sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method != "POST" or sent != JSON or "upgrade" in request.headers:
            return _refused("transport not supported", content_type)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return _refused(f"json request body could not be decoded: {error}", content_type)
        source, variables, name = operation_of(document)
        if source is None:
            return _refused(
                'json request body could not be decoded: an object with a string "query" is expected, and '
                'optionally an object "variables" and a string "operationName"',
                content_type,
            )
        # The schema takes a third of a second: only who asks for it pays
        from clustercockpit.graphql.context import Context
        from clustercockpit.graphql.execution import answer

        given = answer(Context(site, user), source, variables, name)
        refused = 400 if content_type == GRAPHQL else 422
        return Response(given.body, refused if given.refused else 200, media_type=content_type)

    return router


def operation_of(document: Any) -> tuple[str | None, dict[str, Any], str | None]:
    """Query text (None if the body is not a request), variables and the operation's name."""
    if not isinstance(document, dict):
        return None, {}, None
    source, variables = document.get("query"), document.get("variables")
    name = document.get("operationName")
    well_formed = (
        isinstance(source, str) and isinstance(variables, dict | None) and isinstance(name, str | None)
    )
    return (source, variables or {}, name or None) if well_formed else (None, {}, None)


def response_type(accept: str) -> str:
    """What the answer calls itself: the first of the caller's list that means either."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in {"", "*/*", "application/*", JSON}:
            return JSON
        if kind == GRAPHQL:
            return GRAPHQL
    return GRAPHQL


def _refused(message: str, content_type: str) -> Response:
    body = {"errors": [{"message": message}], "data": None}
    return Response(orjson.dumps(body), 400, media_type=content_type)
