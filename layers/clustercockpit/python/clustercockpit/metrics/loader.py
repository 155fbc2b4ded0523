"""Series of any job: from the metric store while it runs, from the archive afterwards.

What the reference adds to what it reads is added here: a statistics series where a metric has many series,
and statistics rounded to two digits. `spec/graphql-api.md` 9.1 and 9.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import NotFoundError
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus
from clustercockpit.metrics.archived import bytes_of
from clustercockpit.metrics.cache import BoundedCache
from clustercockpit.metrics.frame import Frame
from clustercockpit.metrics.model import LoadedJobData, SeriesStatistics
from clustercockpit.metrics.ports import JobMetricSource
from clustercockpit.metrics.statistics_series import MINIMUM_SERIES, rounded, statistics_series

_CACHE_BYTES = 64 * 1024 * 1024
_RUNNING_SECONDS = 15
_FINISHED_SECONDS = 3600


class MetricLoader:
    """JobMetricSource for every job."""

    def __init__(self, live: JobMetricSource, archived: JobMetricSource) -> None:
        self._live = live
        self._archived = archived
        self._loaded: BoundedCache[LoadedJobData] = BoundedCache(_CACHE_BYTES)

    def load(
        self,
        job: Job,
        metrics: Sequence[str] | None,
        scopes: Sequence[MetricScope] | None,
        resolution: int,
        *,
        start: int | None = None,
        end: int | None = None,
    ) -> LoadedJobData:
        def read() -> LoadedJobData:
            loaded = self._source(job).load(job, metrics, scopes, resolution, start=start, end=end)
            _finish(loaded)
            return loaded

        key = (
            job.id, job.ver, job.job_id, job.start_time, _key(metrics), _key(scopes), resolution, start, end,
        )  # fmt: skip
        seconds = _FINISHED_SECONDS if _archived(job) else _RUNNING_SECONDS
        return self._loaded.get(key, read, lambda loaded: bytes_of(loaded.data), seconds)

    def frame(
        self,
        job: Job,
        metrics: Sequence[str] | None,
        scopes: Sequence[MetricScope] | None,
        resolution: float,
        *,
        start: float | None = None,
        end: float | None = None,
    ) -> Frame:
        return self._source(job).frame(job, metrics, scopes, resolution, start=start, end=end)

    def _source(self, job: Job) -> JobMetricSource:
        if job.monitoring_status is MonitoringStatus.DISABLED:
            raise NotFoundError(f"monitoring was disabled for job {job.job_id}: there are no metrics")
        # A job whose archiving failed is still in the store, for a while
        return self._archived if _archived(job) else self._live


def _archived(job: Job) -> bool:
    return job.state is not JobState.RUNNING and job.monitoring_status is MonitoringStatus.ARCHIVED


def _key(items: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)


def _finish(loaded: LoadedJobData) -> None:
    for scopes in loaded.data.values():
        for metric in scopes.values():
            if metric.statistics_series is None and len(metric.series) >= MINIMUM_SERIES:
                metric.statistics_series = statistics_series([series.data for series in metric.series])
            metric.series = [
                replace(
                    series,
                    statistics=SeriesStatistics(
                        avg=rounded(series.statistics.avg),
                        min=rounded(series.statistics.min),
                        max=rounded(series.statistics.max),
                    ),
                )
                for series in metric.series
            ]
