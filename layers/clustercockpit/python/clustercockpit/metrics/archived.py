"""Series of a finished job from its archived data document.

The document has no times: sample i stands for `start_time + i · timestep`. `spec/graphql-api.md` 9.3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from clustercockpit.archive.ports import JobArchive
from clustercockpit.clusters.model import MetricScope
from clustercockpit.clusters.ports import ClusterCatalog
from clustercockpit.errors import InvalidInputError
from clustercockpit.jobs.model import Job
from clustercockpit.metrics.cache import BoundedCache
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameSeries
from clustercockpit.metrics.live import Window, thin
from clustercockpit.metrics.model import JobData, JobMetric, LoadedJobData, Samples, Series
from clustercockpit.metrics.resampling import DEFAULT_MINIMUM_POINTS, bucket_width, merge
from clustercockpit.metrics.statistics_series import statistics_of

_CACHE_BYTES = 128 * 1024 * 1024
_CACHE_SECONDS = 3600
# Metrics whose node value the reference makes up as a sum where an archive lacks it
_SUMMED = ("flops_any", "mem_bw")


class ArchivedSource:
    """JobMetricSource over the job archive."""

    def __init__(
        self,
        archive: JobArchive,
        catalog: ClusterCatalog,
        *,
        minimum_points: Callable[[], int] = lambda: DEFAULT_MINIMUM_POINTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._catalog = catalog
        self._minimum_points = minimum_points
        self._clock = clock
        self._documents: BoundedCache[JobData] = BoundedCache(_CACHE_BYTES)

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
        """As the reference answers: scopes that were asked for, or all there are where none of them is, or
        none was named."""
        stored = self._document(job)
        names = list(stored) if metrics is None else [name for name in metrics if name in stored]
        window = Window.of(job, start, end, self._clock())
        loaded = LoadedJobData({})
        for name in dict.fromkeys(names):
            by_scope = stored[name]
            chosen = {scope: by_scope[scope] for scope in scopes or () if scope in by_scope} or by_scope
            if len(by_scope) == 1:
                chosen = by_scope
            if scopes and MetricScope.NODE in scopes and MetricScope.NODE not in by_scope:
                made = self._of_nodes(job, name, by_scope)
                chosen = chosen if made is None else {**chosen, MetricScope.NODE: made}
            loaded.data[name] = {
                scope: _cut(metric, job, window, whole=start is None and end is None)
                for scope, metric in chosen.items()
            }
            for metric in loaded.data[name].values():
                try:
                    thin(metric, resolution, self._minimum_points())
                except InvalidInputError as error:
                    loaded.errors.append(f"{name}: {error}")
        return loaded

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
        stored = self._document(job)
        names = list(stored) if metrics is None else list(dict.fromkeys(metrics))
        window = Window.of(job, start, end, self._clock())
        result = Frame(self._clock(), window.start, window.end)
        for name in names:
            by_scope = stored.get(name)
            if by_scope is None:
                result.errors.append(f"{name}: not in the archive of this job")
                continue
            done = set()
            for requested in scopes or [MetricScope.NODE]:
                scope, metric = self._at(job, name, by_scope, requested)
                if scope not in done:
                    done.add(scope)
                    result.metrics.append(_framed(name, scope, metric, job, window, resolution))
        return result

    def _document(self, job: Job) -> JobData:
        def read() -> JobData:
            data = self._archive.read_data(job.cluster, job.job_id, job.start_time)
            for scopes in data.values():
                for metric in scopes.values():
                    for series in metric.series:
                        series.data.setflags(write=False)
            return data

        key = (job.cluster, job.job_id, job.start_time, job.ver)
        return self._documents.get(key, read, bytes_of, _CACHE_SECONDS)

    def _at(
        self, job: Job, name: str, by_scope: dict[MetricScope, JobMetric], requested: MetricScope
    ) -> tuple[MetricScope, JobMetric]:
        """What is stored closest to a scope: itself, the next coarser one, made up, or the coarsest."""
        if requested in by_scope:
            return requested, by_scope[requested]
        coarser = [scope for scope in by_scope if scope.rank > requested.rank]
        if coarser:
            scope = min(coarser, key=lambda each: each.rank)
            return scope, by_scope[scope]
        if requested is MetricScope.NODE:
            made = self._of_nodes(job, name, by_scope)
            if made is not None:
                return MetricScope.NODE, made
        scope = max(by_scope, key=lambda each: each.rank)
        return scope, by_scope[scope]

    def _of_nodes(self, job: Job, name: str, by_scope: dict[MetricScope, JobMetric]) -> JobMetric | None:
        """Node series made of the coarsest stored scope; None where nobody says how to combine them."""
        cluster = self._catalog.cluster(job.cluster)
        metric = cluster.metric(name) if cluster is not None else None
        aggregation = metric.aggregation if metric is not None else ""
        if aggregation not in ("sum", "avg"):
            if name not in _SUMMED:
                return None
            aggregation = "sum"
        return of_nodes(by_scope[max(by_scope, key=lambda each: each.rank)], aggregation)


def of_nodes(metric: JobMetric, aggregation: str) -> JobMetric:
    """Per host the sum or mean of its series. A sum with a part missing is missing; statistics are those of
    the result."""
    hosts: dict[str, list[Samples]] = {}
    for series in metric.series:
        hosts.setdefault(series.hostname, []).append(series.data)
    made = JobMetric(metric.unit, metric.timestep)
    for host, parts in hosts.items():
        table = np.full((len(parts), max(len(part) for part in parts)), np.nan)
        for row, part in zip(table, parts, strict=True):
            row[: len(part)] = part
        if aggregation == "sum":
            data = table.sum(axis=0)
        else:
            counts = (~np.isnan(table)).sum(axis=0)
            data = np.full(table.shape[1], np.nan)
            some = counts > 0
            data[some] = np.nansum(table, axis=0)[some] / counts[some]
        made.series.append(Series(host, data, statistics_of(data)))
    return made


def bytes_of(data: JobData) -> int:
    """Memory that the samples and their frame of objects take, about."""
    return sum(
        series.data.nbytes + 500
        for scopes in data.values()
        for metric in scopes.values()
        for series in metric.series
    )


def _range(job: Job, metric: JobMetric, window: Window, length: int) -> tuple[int, int]:
    """Indices of the samples inside the window."""
    timestep = metric.timestep or 1
    low = math.ceil((window.start - job.start_time) / timestep - 1e-9)
    high = math.ceil((window.end - job.start_time) / timestep - 1e-9)
    return max(0, min(low, length)), max(0, min(high, length))


def _cut(metric: JobMetric, job: Job, window: Window, *, whole: bool) -> JobMetric:
    """A copy with the samples inside the window; `whole` keeps what stands beyond the job's end, too."""
    if whole:
        return replace(metric, series=[replace(series) for series in metric.series])
    result = JobMetric(metric.unit, metric.timestep)
    for series in metric.series:
        low, high = _range(job, metric, window, len(series.data))
        data = series.data[low:high]
        result.series.append(replace(series, data=data, statistics=statistics_of(data)))
    return result


def _framed(
    name: str, scope: MetricScope, metric: JobMetric, job: Job, window: Window, resolution: float
) -> FrameMetric:
    timestep = metric.timestep or 1
    width = bucket_width(timestep, resolution)
    # A bucket that the window cuts is answered whole
    lead = (job.start_time // timestep) % width
    framed = FrameMetric(name, scope, metric.unit, timestep)
    for series in metric.series:
        low, high = _range(job, metric, window, len(series.data))
        if window.end >= job.start_time + job.duration:
            high = len(series.data)  # the sample taken at the job's very end
        statistics = statistics_of(series.data[low:high])
        low = max(0, (low + lead) // width * width - lead)
        samples = series.data[low:high]
        buckets = merge(samples, job.start_time + low * timestep, timestep, width)
        framed.series.append(
            FrameSeries(
                hostname=series.hostname,
                id=series.id if scope is not MetricScope.NODE else None,
                grid=FrameGrid(buckets.start, buckets.step),
                mean=buckets.mean,
                min=buckets.min,
                max=buckets.max,
                statistics=statistics,
            )
        )
    return framed
