"""The doors of the metrics room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clustercockpit.clusters.model import MetricScope
from clustercockpit.jobs.model import Job
from clustercockpit.metrics.model import LoadedJobData


class JobMetricSource(Protocol):
    """Series of one job. Two implementations: the metric store (live) and the archive (finished)."""

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
        """Series between `start` and `end` (Unix seconds, default the whole job).

        `metrics` None: all of the job's subcluster; `scopes` None: node. `resolution` in seconds, 0 =
        native. Raises UnavailableError when the source does not answer, NotFoundError when it has nothing
        of this job.
        """
        ...
