"""Finds stopped jobs that no message reached, or whose archiving failed, and hands them over again.

`spec/workers-and-data-model.md` 9.9. Runs every ten minutes and keeps no record: a job is due when its age
since the stop passes a point of a doubling series, so a job that cannot be archived is tried ever more
rarely, and one that was missed is soon found. Handing a job over twice does no harm.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clustercockpit.errors import UnavailableError
from clustercockpit.jobs.model import Job

if TYPE_CHECKING:
    from clustercockpit.site import Site

# Seconds. The queue itself tries for about two hours, so failed jobs wait longer.
INTERVAL = 600
PENDING_AFTER = 900
FAILED_AFTER = 4 * 3600
# By then no metric store has a job's samples any more
GIVE_UP_AFTER = 14 * 86_400

_log = logging.getLogger(__name__)


def run(site: Site, *, now: float | None = None) -> int:
    """Enqueue what is due; how many that were. `now`: Unix seconds, for tests."""
    clock = time.time() if now is None else now
    found = [job for job in site.jobs.archiving_pending() if due(age(job, clock), PENDING_AFTER)]
    for cluster in site.clusters.clusters():
        found += [
            job
            for job in site.jobs.archiving_failed(cluster.name)
            if age(job, clock) <= GIVE_UP_AFTER and due(age(job, clock), FAILED_AFTER)
        ]
    for count, job in enumerate(found):
        try:
            site.archive_queue.enqueue(job.id, delay_seconds=0)
        except UnavailableError:
            _log.warning("the archive queue takes no messages: %d jobs wait", len(found) - count)
            raise
    if found:
        _log.info("handed %d stopped jobs to the archiver again", len(found))
    return len(found)


def age(job: Job, now: float) -> float:
    """Seconds since the job ended."""
    return now - (job.start_time + job.duration)


def due(age: float, first: float) -> bool:
    """Whether one of `first`, 2 · `first`, 4 · `first`, … lies within the last interval (and a tenth, for
    schedules are not punctual)."""
    point = first
    while point <= age:
        if age - point < INTERVAL * 1.1:
            return True
        point *= 2
    return False
