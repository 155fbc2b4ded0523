"""The doors of the metrics room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clustercockpit.clusters.model import MetricScope
from clustercockpit.jobs.model import Job
from clustercockpit.metrics.frame import Frame
from clustercockpit.metrics.model import LoadedJobData
from clustercockpit.metrics.scopes import SeriesQuery


class JobMetricSource(Protocol):
    """Series of one job. Implementations: the metric store (`live`), the archive (`archived`), and the
    choice between them (`loader`)."""

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
        """Series between `start` and `end` (Unix seconds, default the whole job), for the reference's
        interfaces: sample 0 stands at the window's start, thinned out with the reference's picks.

        `metrics` None: all of the job's subcluster; `scopes` None: node. `resolution` in seconds, 0 =
        native. Raises UnavailableError when the source does not answer, NotFoundError when it cannot have
        anything of this job. Arrays may be shared with a cache: do not write into them.
        """
        ...

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
        """The same with true times, values merged into buckets of at least `resolution` seconds."""
        ...


class SeriesStore(Protocol):
    """A metric store that answers questions about hosts: ours, or an external cc-metric-store."""

    def frame(
        self, cluster: str, queries: Sequence[SeriesQuery], start: float, end: float, resolution: float
    ) -> Frame:
        """Series with `start` ≤ t < `end`, one per host and group that has samples, merged into buckets of
        at least `resolution` seconds (0: as measured). What is missing is said in the frame's errors.

        Raises UnavailableError when the store does not answer, TooLargeError when it is too much at once.
        """
        ...
