"""Series of a job from the metric store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from clustercockpit.clusters.model import Cluster, MetricConfig, MetricScope, SubCluster
from clustercockpit.clusters.ports import ClusterCatalog
from clustercockpit.errors import InvalidInputError, NotFoundError
from clustercockpit.jobs.model import Job
from clustercockpit.metrics.frame import Frame, FrameMetric
from clustercockpit.metrics.model import JobData, JobMetric, LoadedJobData, Samples, Series
from clustercockpit.metrics.ports import SeriesStore
from clustercockpit.metrics.resampling import DEFAULT_MINIMUM_POINTS, resample
from clustercockpit.metrics.scopes import plan

Wanted = Sequence[tuple[MetricConfig, Sequence[MetricScope]]]


def sub_cluster_of(catalog: ClusterCatalog, job: Job) -> tuple[Cluster, SubCluster]:
    """Where a job ran, as the cluster documents have it now. NotFoundError if they know it no longer."""
    cluster = catalog.cluster(job.cluster)
    if cluster is None:
        raise NotFoundError(f"cluster {job.cluster!r} is not configured any more")
    found = cluster.sub_cluster(job.sub_cluster)
    if found is None and not job.sub_cluster and job.resources:
        found = catalog.sub_cluster_of(job.cluster, job.resources[0].hostname)
    if found is None:
        raise NotFoundError(f"subcluster {job.sub_cluster!r} of {job.cluster} is not configured any more")
    return cluster, found


def wanted_metrics(
    sub_cluster: SubCluster, metrics: Sequence[str] | None, scopes: Sequence[MetricScope] | None
) -> tuple[list[tuple[MetricConfig, Sequence[MetricScope]]], list[str]]:
    """Configurations of the named metrics (None: all) with the scopes (None: node), and complaints."""
    scopes = [MetricScope.NODE] if scopes is None else scopes
    if metrics is None:
        return [(metric, scopes) for metric in sub_cluster.metric_config], []
    wanted: list[tuple[MetricConfig, Sequence[MetricScope]]] = []
    errors = []
    for name in dict.fromkeys(metrics):
        metric = sub_cluster.metric(name)
        if metric is None:
            errors.append(f"{name}: not a metric of subcluster {sub_cluster.name}")
        else:
            wanted.append((metric, scopes))
    return wanted, errors


@dataclass(frozen=True, slots=True)
class Window:
    """Unix seconds, from `start` up to but not including `end`."""

    start: float
    end: float

    @classmethod
    def of(cls, job: Job, start: float | None, end: float | None, now: float) -> Window:
        """The part of the job's run that was asked for. InvalidInputError if it ends before it begins."""
        begin, finish = job.start_time, job.start_time + job.elapsed(int(now))
        low = begin if start is None else max(float(begin), start)
        high = finish if end is None else min(float(finish), end)
        if start is not None and end is not None and start > end:
            raise InvalidInputError(f"the time window ends ({end:g}) before it begins ({start:g})")
        return cls(low, max(low, high))


class LiveSource:
    """JobMetricSource over metric stores. `store_of(cluster, subcluster)` chooses the store."""

    def __init__(
        self,
        store_of: Callable[[str, str], SeriesStore],
        catalog: ClusterCatalog,
        *,
        minimum_points: Callable[[], int] = lambda: DEFAULT_MINIMUM_POINTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store_of = store_of
        self._catalog = catalog
        self._minimum_points = minimum_points
        self._clock = clock

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
        _, sub_cluster = sub_cluster_of(self._catalog, job)
        wanted, errors = wanted_metrics(sub_cluster, metrics, scopes)
        loaded = self.load_wanted(job, wanted, start=start, end=end)
        loaded.errors[:0] = errors
        for name, by_scope in loaded.data.items():
            for metric in by_scope.values():
                try:
                    thin(metric, resolution, self._minimum_points())
                except InvalidInputError as error:
                    loaded.errors.append(f"{name}: {error}")
        return loaded

    def load_wanted(
        self, job: Job, wanted: Wanted, *, start: int | None = None, end: int | None = None
    ) -> LoadedJobData:
        """At native resolution, each metric at its own scopes. Sample 0 of every series is the window's
        start, missing samples are NaN, and all series of a metric and scope are of one length."""
        window = Window.of(job, start, end, self._clock())
        answer = self._ask(job, wanted, window, 0)
        data: JobData = {}
        for metric in answer.metrics:
            if metric.series:
                data.setdefault(metric.name, {})[metric.scope] = _on_window(metric, window)
        return LoadedJobData(data, answer.errors)

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
        _, sub_cluster = sub_cluster_of(self._catalog, job)
        wanted, errors = wanted_metrics(sub_cluster, metrics, scopes)
        window = Window.of(job, start, end, self._clock())
        if start is not None and resolution > 0:
            # Whole buckets only: what belongs to a bucket that the window cuts lies less than one before it
            widest = resolution + max((metric.timestep for metric, _ in wanted), default=0)
            window = Window(max(job.start_time, window.start - widest), window.end)
        answer = self._ask(job, wanted, window, resolution)
        if start is not None and resolution > 0:
            _drop_before(answer.metrics, start)
            answer.start = start
        answer.errors[:0] = errors
        return answer

    def _ask(self, job: Job, wanted: Wanted, window: Window, resolution: float) -> Frame:
        cluster, sub_cluster = sub_cluster_of(self._catalog, job)
        asked = plan(job, sub_cluster, wanted)
        if asked.queries:
            store = self._store_of(cluster.name, sub_cluster.name)
            answer = store.frame(cluster.name, asked.queries, window.start, window.end, resolution)
        else:
            answer = Frame(self._clock(), window.start, window.end)
        units = {metric.name: metric.unit for metric, _ in wanted}
        for metric in answer.metrics:
            metric.unit = units.get(metric.name, metric.unit)
        answer.errors[:0] = asked.errors
        return answer


def thin(metric: JobMetric, resolution: int, minimum_points: int) -> None:
    """Bring a metric to the resolution as the reference does. InvalidInputError leaves it as it is."""
    samples, timestep = resample(
        [series.data for series in metric.series], metric.timestep, resolution, minimum_points
    )
    for series, values in zip(metric.series, samples, strict=True):
        series.data = values
    if timestep != metric.timestep:
        metric.statistics_series = None  # of other steps
        metric.timestep = timestep


def _on_window(metric: FrameMetric, window: Window) -> JobMetric:
    """Series with times of their own on the one axis of the reference's documents."""
    timestep = max(1, round(metric.series[0].grid.step))
    places = []
    for series in metric.series:
        times = series.grid.times
        if times is None:
            times = series.grid.start + np.arange(len(series.mean)) * series.grid.step
        # A hair up, so that 59.9999 is the slot it means
        places.append(np.floor((times - window.start) / timestep + 1e-6).astype(np.int64))
    length = max((int(place.max()) + 1 for place in places if len(place)), default=0)
    result = JobMetric(metric.unit, timestep)
    for series, place in zip(metric.series, places, strict=True):
        samples: Samples = np.full(max(length, 0), np.nan)
        inside = place >= 0
        samples[place[inside]] = series.mean[inside]
        result.series.append(Series(series.hostname, samples, series.statistics, series.id))
    return result


def _drop_before(metrics: Iterable[FrameMetric], start: float) -> None:
    """Leave out the buckets that end before the window begins."""
    for metric in metrics:
        for series in metric.series:
            grid = series.grid
            ends = grid.start + grid.step / 2
            skip = int(max(0.0, np.ceil((start - ends) / grid.step - 1e-9)))
            if skip:
                series.mean = series.mean[skip:]
                series.min = None if series.min is None else series.min[skip:]
                series.max = None if series.max is None else series.max[skip:]
                if grid.times is not None:
                    grid.times = grid.times[skip:]
                grid.start += skip * grid.step
        metric.series = [series for series in metric.series if len(series.mean)]
