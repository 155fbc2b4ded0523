"""REST routes that write jobs, and those that answer by key (`spec/rest-and-nats-api.md` 4)."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from clustercockpit.errors import InvalidInputError, NotFoundError
from clustercockpit.http.answers import Refusal, not_found_answer
from clustercockpit.http.bodies import MAX_REPORT_BYTES, read_body
from clustercockpit.http.door import CurrentUser, guarded_router
from clustercockpit.jobs.documents import job_document
from clustercockpit.jobs.model import Job
from clustercockpit.reference_json import encode

if TYPE_CHECKING:
    from clustercockpit.site import Site


async def _raw_body(request: Request) -> bytes:
    """The body as it came: its content type is never looked at."""
    return await read_body(request, limit=MAX_REPORT_BYTES)


Body = Annotated[bytes, Depends(_raw_body)]

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


def job_routers(site: Site) -> list[APIRouter]:
    router = guarded_router("main-api", prefix="/api")

    def messages_only() -> bool:
        """`main.api-subjects.exclusive`: jobs come over NATS alone, as in the reference (ruling 6)."""
        subjects = site.configuration.main.api_subjects
        return subjects is not None and subjects.exclusive

    @router.api_route("/jobs/start_job/", methods=["POST", "PUT"])
    def start_job(request: Request, body: Body, user: CurrentUser) -> Response:
        if messages_only():
            return not_found_answer(request.url.path)
        site.job_service.start(body, user)
        return _json({"msg": "success"}, 201)

    @router.api_route("/jobs/stop_job/", methods=["POST", "PUT"])
    def stop_job(request: Request, body: Body) -> Response:
        if messages_only():
            return not_found_answer(request.url.path)
        job = site.job_service.stop(body)
        # As the reference answers: bare of what it would have to look up
        job.tags, job.meta_data, job.statistics, job.energy_footprint = (), None, None, None
        return _job(job)

    @router.get("/jobs/used_nodes")
    def used_nodes(request: Request) -> Response:
        text = request.query_params.get("ts", "")
        if not text:
            raise InvalidInputError("missing required query parameter: ts")
        return _json({"usedNodes": site.job_service.used_nodes(_integer(text, "invalid timestamp format"))})

    @router.api_route("/jobs/tag_job/{id}", methods=["POST", "PATCH"])
    def tag_job(id: str, body: Body, user: CurrentUser) -> Response:
        return _job(site.job_service.add_tags(_id(id), body, user))

    @router.delete("/jobs/tag_job/{id}")
    def untag_job(id: str, body: Body, user: CurrentUser) -> Response:
        return _job(site.job_service.remove_tags(_id(id), body, user))

    @router.patch("/jobs/edit_meta/{id}")
    def edit_metadata(id: str, body: Body, user: CurrentUser) -> Response:
        job = site.job_service.edit_metadata(_id(id, "parsing job ID failed"), body)
        return _job(site.job_service.shown(job, user))

    @router.patch("/jobs/edit_meta/")
    def edit_metadata_by_request(body: Body, user: CurrentUser) -> Response:
        try:
            job = site.job_service.edit_metadata_by_request(body)
        except NotFoundError as error:
            raise Refusal(422, str(error)) from None
        return _job(site.job_service.shown(job, user))

    @router.delete("/jobs/delete_job/{id}")
    def delete_job(id: str) -> Response:
        number = _id(id)
        site.job_service.delete(number)
        return _json({"msg": f"Successfully deleted job {number}"})

    @router.delete("/jobs/delete_job/")
    def delete_job_by_request(body: Body) -> Response:
        try:
            number = site.job_service.delete_by_request(body)
        except NotFoundError as error:
            raise Refusal(422, str(error)) from None
        return _json({"msg": f"Successfully deleted job {number}"})

    @router.delete("/tags/")
    def delete_tags(body: Body, user: CurrentUser) -> Response:
        deleted, requested = site.job_service.delete_tags(body, user)
        # Spelt as the reference spells it
        return PlainTextResponse(f"Deleted Tags from DB: {deleted} successfull of {requested} requested\n")

    return [router]


def _integer(text: str, problem: str) -> int:
    """A decimal 64-bit number."""
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise InvalidInputError(f"{problem}: {text[:40]!r} is no whole number")
    return int(text)


def _id(text: str, problem: str = "integer expected in path for id") -> int:
    return _integer(text, problem)


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


def _job(job: Job) -> Response:
    return _json(job_document(job, now=int(time.time())))
