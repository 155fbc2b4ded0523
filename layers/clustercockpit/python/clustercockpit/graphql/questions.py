"""Filters, orders and pages as they arrive, in the index's words. `spec/graphql-api.md` chapters 6 and 7."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clustercockpit.errors import InvalidInputError
from clustercockpit.index.model import Direction, JobFilter, JobOrder, Page, Range, TextMatch
from clustercockpit.jobs.model import Sharing

NOTHING: Final = JobFilter(ids=())
"""A filter no job satisfies."""
RECENT: Final = {"last6h": 21_600, "last24h": 86_400, "last7d": 604_800, "last30d": 2_592_000}
COLUMNS: Final = {
    "id": "id",
    "job_id": "job_id",
    "cluster": "cluster",
    "subcluster": "sub_cluster",
    "submit_time": "submit_time",
    "start_time": "start_time",
    "hpc_user": "user",
    "project": "project",
    "cluster_partition": "partition",
    "array_job_id": "array_job_id",
    "duration": "duration",
    "walltime": "walltime",
    "job_state": "state",
    "num_nodes": "num_nodes",
    "num_hwthreads": "num_hwthreads",
    "num_acc": "num_acc",
    "smt": "smt",
    "shared": "shared",
    "monitoring_status": "monitoring_status",
    "energy": "energy",
    # By the names the fields have here, which the reference does not take
    "sub_cluster": "sub_cluster",
    "user": "user",
    "partition": "partition",
    "state": "state",
    "num_hw_threads": "num_hwthreads",
}
"""Snake case of an order's field → field of the Job model."""
_FOOTPRINT_KEY: Final = re.compile(r"[a-zA-Z0-9_]+", re.ASCII)


def job_filters(given: Sequence[Mapping[str, Any]] | None, now: int) -> list[JobFilter]:
    """All elements hold together. `now` (Unix seconds) anchors relative time ranges."""
    return [filter for each in given or () for filter in _filter(each, now)]


def _filter(given: Mapping[str, Any], now: int) -> list[JobFilter]:
    def text(name: str) -> TextMatch | None:
        return _text(given.get(name))

    def span(name: str) -> Range | None:
        return _range(given.get(name))

    shared = given.get("shared")
    items = given.get("metricStats") or ()
    impossible = (shared is not None and shared not in list(Sharing)) or any(
        not _FOOTPRINT_KEY.fullmatch(item["metricName"]) for item in items
    )
    return [
        *([NOTHING] if impossible else ()),
        JobFilter(
            ids=_ids(given.get("dbId")),
            job_id=text("jobId"),
            array_job_id=given.get("arrayJobId"),
            user=text("user"),
            project=text("project"),
            job_name=text("jobName"),
            cluster=text("cluster"),
            sub_cluster=text("subCluster"),
            partition=text("partition"),
            node=text("node"),
            states=None if given.get("state") is None else tuple(given["state"]),
            shared=None if shared is None or impossible else Sharing(shared),
            schedule=given.get("schedule"),
            tags=_ids(given.get("tags")),
            start_time=_window(given.get("startTime"), now),
            duration=span("duration"),
            num_nodes=span("numNodes"),
            num_hwthreads=span("numHWThreads"),
            num_acc=span("numAccelerators"),
            energy=span("energy"),
            footprints=tuple(
                (item["metricName"], bounds)
                for item in items
                if (bounds := _range(item["range"])) is not None
            ),
        ),
    ]


def _ids(given: Sequence[str] | None) -> tuple[int, ...] | None:
    """What is no number is no id of ours."""
    if given is None:
        return None
    return tuple(int(text) for text in given if re.fullmatch(r"\d{1,18}", text, re.ASCII))


def _text(given: Mapping[str, Any] | None) -> TextMatch | None:
    if given is None:
        return None
    one_of = given.get("in")
    return TextMatch(
        eq=given.get("eq"),
        neq=given.get("neq"),
        starts_with=given.get("startsWith"),
        ends_with=given.get("endsWith"),
        contains=given.get("contains"),
        one_of=None if one_of is None else tuple(one_of),
    )


def _range(given: Mapping[str, Any] | None) -> Range | None:
    """0 is open; any negative bound lifts the whole condition."""
    if given is None or given["from"] < 0 or given["to"] < 0:
        return None
    low, high = given["from"] or None, given["to"] or None
    return None if low is None and high is None else Range(low, high)


def _window(given: Mapping[str, Any] | None, now: int) -> Range | None:
    if given is None:
        return None
    low, high = given.get("from"), given.get("to")
    if low is not None or high is not None:
        return Range(low, high)
    age = RECENT.get(given.get("range") or "")
    return Range(now - age, None) if age is not None else None


def job_order(given: Mapping[str, Any] | None) -> JobOrder | None:
    """Raises InvalidInputError for a column that is none."""
    if given is None:
        return None
    direction = Direction.ASCENDING if given["order"] == "ASC" else Direction.DESCENDING
    if given["type"] != "col":
        return JobOrder(given["field"], direction, footprint=True)
    column = COLUMNS.get(snake(given["field"]))
    if column is None:
        raise InvalidInputError(
            f"jobs cannot be ordered by {given['field'][:60]!r}: no such column;"
            ' for a footprint give its key and type "foot"'
        )
    return JobOrder(column, direction)


def snake(field: str) -> str:
    """`numHwthreads` → `num_hwthreads`, as the reference does it."""
    field = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", field)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", field).lower()


def job_page(given: Mapping[str, Any] | None) -> Page:
    return Page() if given is None else Page(max(given["page"], 1), given["itemsPerPage"])
