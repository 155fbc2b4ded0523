"""Works out the footprints of running jobs, cluster by cluster.

`spec/workers-and-data-model.md` 3.4, with the formulas of the archiver: a metric without samples has no
footprint, and the least value is that of the samples. Runs every minute and does something when
`cron.footprint-worker` has passed; jobs whose footprint is oldest come first, and what time does not allow
keeps its values until the next minute, which goes on from there. Two runs at once do no harm: the later
object holds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from clustercockpit.archive.statistics import footprint, job_statistics
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import ClusterCockpitError, InvalidInputError, NotFoundError, UnavailableError
from clustercockpit.footprints.snapshot import ClusterFootprints, JobFootprint, decode, encode, key_of
from clustercockpit.jobs.model import Job
from clustercockpit.metrics.live import sub_cluster_of
from clustercockpit.metrics.model import JobMetric, Series

if TYPE_CHECKING:
    from clustercockpit.site import Site

SECONDS: Final = 45.0
"""What a run may take; the function gives it a little more."""
_AT_ONCE: Final = 4  # questions to the metric store
_EARLY: Final = 5.0  # schedules are not punctual to the second

_NO_SAMPLES: Final = np.empty(0)
_log = logging.getLogger(__name__)


def run(site: Site, *, now: float | None = None, seconds: float = SECONDS) -> int:
    """Renew what is due; how many jobs' footprints were. `now`: Unix seconds, for tests.

    Raises UnavailableError if the metric store did not answer for any cluster.
    """
    clock = time.time() if now is None else now
    interval = site.configuration.cron.footprint_worker
    if interval <= 0:
        return 0
    deadline = time.monotonic() + seconds
    clusters = site.clusters.clusters()
    done, unanswered = 0, None
    for place, cluster in enumerate(clusters):
        known = _known(site, cluster.name)
        if clock - known.begun < interval - _EARLY:
            continue
        # What a cluster leaves over is the next ones'
        share = (deadline - time.monotonic()) / (len(clusters) - place)
        try:
            done += _renew(site, cluster.name, known, int(clock), interval, time.monotonic() + share)
        except UnavailableError as error:
            unanswered = error
    if unanswered is not None and not done:
        raise unanswered
    return done


def _known(site: Site, cluster: str) -> ClusterFootprints:
    try:
        return decode(site.data_objects.get(key_of(cluster))[0])
    except NotFoundError:
        return ClusterFootprints(0)
    except InvalidInputError as error:
        _log.warning("%s: %s; written anew", cluster, error)
        return ClusterFootprints(0)


def _renew(
    site: Site, cluster: str, known: ClusterFootprints, now: int, interval: float, deadline: float
) -> int:
    running = [
        job for job in site.jobs.running(cluster) if job.elapsed(now) >= site.settings.footprint_after_seconds
    ]
    # Whoever ended meanwhile is forgotten
    jobs = {job.id: known.jobs[job.id] for job in running if job.id in known.jobs}
    due = [job for job in running if job.id not in jobs or now - jobs[job.id].at >= interval - _EARLY]
    due.sort(key=lambda job: jobs[job.id].at if job.id in jobs else 0)
    done = left = 0
    unanswered: UnavailableError | None = None
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="footprint") as pool:
        for some in _portions(due):
            if time.monotonic() > deadline or unanswered is not None:
                left += len(some)
                continue
            for job, result in zip(some, pool.map(lambda job: _footprint(site, job), some), strict=True):
                if isinstance(result, UnavailableError):
                    unanswered = result
                    left += 1
                elif result is not None:
                    jobs[job.id] = JobFootprint(now, result)
                    done += 1
    if unanswered is not None:
        _log.warning("footprints of %s: %d running jobs keep what they had: %s", cluster, left, unanswered)
        if not done:
            raise unanswered
    elif left:
        _log.warning("footprints of %s: no time for %d of %d running jobs", cluster, left, len(running))
    content = encode(ClusterFootprints(known.begun if left else now, jobs))
    site.data_objects.put(key_of(cluster), content, content_type="application/json")
    return done


def _portions(jobs: Sequence[Job]) -> Sequence[Sequence[Job]]:
    return [jobs[start : start + 4 * _AT_ONCE] for start in range(0, len(jobs), 4 * _AT_ONCE)]


def _footprint(site: Site, job: Job) -> dict[str, float] | UnavailableError | None:
    """None where nothing can be said of this job; one job never costs the others theirs."""
    try:
        return footprint_of(site, job)
    except UnavailableError as error:
        return error
    except ClusterCockpitError as error:
        _log.warning("footprint of job %d: %s", job.id, error)
        return None


def footprint_of(site: Site, job: Job) -> dict[str, float]:
    """The footprint of a running job up to now, by the metrics of its subcluster that have one.

    One question to the metric store, whose answer holds a value or two per node: only the statistics of the
    series, which are over all samples, are used.
    """
    _, sub_cluster = sub_cluster_of(site.clusters, job)
    names = [metric.name for metric in sub_cluster.metric_config if metric.footprint]
    if not names:
        return {}
    elapsed = max(1, job.elapsed(int(time.time())))
    frame = site.live_metrics.frame(job, names, [MetricScope.NODE], elapsed)
    data = {
        metric.name: {
            metric.scope: JobMetric(
                metric.unit,
                max(1, round(metric.native_timestep)),
                [Series(each.hostname, _NO_SAMPLES, each.statistics, each.id) for each in metric.series],
            )
        }
        for metric in frame.metrics
    }
    return footprint(sub_cluster, job_statistics(data, {}, job.num_nodes))
