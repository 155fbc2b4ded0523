"""Archives a stopped job: its series, its statistics, and the record that it is done.

`spec/job-archive.md` chapter 12. A message of the queue may come twice and in any state of the job; every
step can be repeated. What fails raises, so that the queue brings the message again; after the last time the
job shows as failed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clustercockpit.archive.statistics import energy_footprint, footprint, job_statistics, total_energy
from clustercockpit.clusters.model import MetricConfig, MetricScope, SubCluster
from clustercockpit.errors import NotFoundError
from clustercockpit.jobs.model import Job, JobState, JobStatistics, MonitoringStatus
from clustercockpit.metrics.live import sub_cluster_of
from clustercockpit.metrics.model import JobData, LoadedJobData, SeriesStatistics
from clustercockpit.metrics.statistics_series import MINIMUM_SERIES, rounded, statistics_series

if TYPE_CHECKING:
    from clustercockpit.site import Site

# After so many deliveries the queue gives up (`infra/queue.yaml`, maxReceiveCount)
LAST_ATTEMPT = 5
# Up to this many nodes a job's cores are archived, too
_CORES_UP_TO_NODES = 8

_MOST_NAMED = 12

_log = logging.getLogger(__name__)


def handle(site: Site, job_id: int, *, attempt: int = 1) -> None:
    """Archive the job with our id `job_id`, or bring the documents of an archived one in step with the table.
    `attempt` counts the deliveries of the message from 1.

    Raises whatever prevented it; from `LAST_ATTEMPT` on the job is marked failed first.
    """
    job = site.jobs.get(job_id, with_metadata=True)
    if job is None:
        _log.info("job %d is gone: nothing to archive", job_id)
        return
    if job.state is JobState.RUNNING or job.monitoring_status is MonitoringStatus.DISABLED:
        _log.info("job %d is %s: nothing to archive", job_id, job.state)
        return
    if job.monitoring_status is MonitoringStatus.ARCHIVED:
        # Its tags or metadata changed, or the message came twice
        if not site.archive.rewrite_meta(job):
            _log.warning("job %d counts as archived but its documents are not there", job_id)
        return
    try:
        _archive(site, job)
    except Exception:
        if attempt >= LAST_ATTEMPT:
            site.jobs.archived(job_id, status=MonitoringStatus.ARCHIVING_FAILED)
        raise


def _archive(site: Site, job: Job) -> None:
    _, sub_cluster = sub_cluster_of(site.clusters, job)
    loaded = site.live_metrics.load_wanted(job, archived_metrics(job, sub_cluster))
    accelerated = any(resource.accelerators for resource in job.resources)
    missing = [
        metric.name
        for metric in sub_cluster.metric_config
        if metric.name not in loaded.data
        # A job without accelerators lacks nothing
        and (accelerated or metric.scope is not MetricScope.ACCELERATOR)
    ]
    if missing or loaded.errors:
        _log.warning(
            "job %d (%s on %s): archived without %s; %s",
            job.id,
            job.job_id,
            job.cluster,
            ", ".join(missing) or "nothing missing",
            "; ".join(loaded.errors[:10]),
        )
    writes = bool(loaded.data) or not site.archive.contains(job)
    # Where an earlier attempt wrote the documents, what is missing now was there then
    remarks = missing_remarks(missing) if writes else ()
    statistics = _statistics(site, job, sub_cluster, loaded)
    energy = energy_footprint(sub_cluster, statistics, job.num_nodes, job.duration)
    finished = replace(
        job,
        sub_cluster=sub_cluster.name,
        statistics=statistics,
        footprint=footprint(sub_cluster, statistics),
        energy_footprint=energy,
        energy=total_energy(energy),
        monitoring_status=MonitoringStatus.ARCHIVED,
        remarks=tuple(dict.fromkeys((*job.remarks, *remarks))),
    )
    if writes:
        finish(loaded.data)
        site.archive.write(finished, loaded.data)
    stored = site.jobs.archived(
        job.id,
        status=MonitoringStatus.ARCHIVED,
        footprint=finished.footprint,
        energy_footprint=finished.energy_footprint,
        energy=finished.energy,
        remarks=remarks,
    )
    if stored.ver != job.ver + 1:
        # Tags or metadata changed meanwhile: the table is the truth
        current = site.jobs.get(job.id, with_metadata=True)
        if current is not None:
            site.archive.rewrite_meta(replace(current, statistics=statistics))


def missing_remarks(missing: Sequence[str]) -> tuple[str, ...]:
    """What a reader is told of metrics that have no data; few words for many names."""
    if not missing:
        return ()
    named = sorted(missing)[:_MOST_NAMED]
    more = f" and {len(missing) - len(named)} more" if len(missing) > len(named) else ""
    return (f"archived without {', '.join(named)}{more}: the metric store had no samples",)


def _statistics(
    site: Site, job: Job, sub_cluster: SubCluster, loaded: LoadedJobData
) -> dict[str, JobStatistics]:
    units = {metric.name: metric.unit for metric in sub_cluster.metric_config}
    if loaded.data:
        return job_statistics(loaded.data, units, job.num_nodes)
    if site.archive.contains(job):
        # An earlier attempt wrote the documents and got no further; by now the store has forgotten the job
        return site.archive.read_meta(job.cluster, job.job_id, job.start_time).statistics or {}
    if job.monitoring_status is MonitoringStatus.ARCHIVING_FAILED:
        raise NotFoundError(f"the metric store has nothing of job {job.id} any more")
    return {}


def archived_metrics(job: Job, sub_cluster: SubCluster) -> list[tuple[MetricConfig, Sequence[MetricScope]]]:
    """All metrics of the subcluster with the scopes to keep: node, core for jobs of few nodes, accelerator
    for accelerator metrics alone."""
    wanted: list[tuple[MetricConfig, Sequence[MetricScope]]] = []
    for metric in sub_cluster.metric_config:
        scopes = [MetricScope.NODE]
        if metric.scope is MetricScope.ACCELERATOR:
            scopes.append(MetricScope.ACCELERATOR)
        elif job.num_nodes <= _CORES_UP_TO_NODES:
            scopes.append(MetricScope.CORE)
        wanted.append((metric, scopes))
    return wanted


def finish(data: JobData) -> None:
    """What the archive's documents have beyond the series: rounded statistics, and a statistics series where
    there are many."""
    for scopes in data.values():
        for metric in scopes.values():
            if metric.statistics_series is None and len(metric.series) >= MINIMUM_SERIES:
                metric.statistics_series = statistics_series([series.data for series in metric.series])
            for series in metric.series:
                figures = series.statistics
                series.statistics = SeriesStatistics(
                    rounded(figures.avg), rounded(figures.min), rounded(figures.max)
                )
