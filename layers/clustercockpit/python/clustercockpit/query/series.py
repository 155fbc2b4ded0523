"""Series of one job, as the reference's interfaces ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clustercockpit.access.model import User
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import UnavailableError
from clustercockpit.jobs.model import Job

if TYPE_CHECKING:
    from clustercockpit.metrics.model import JobData, JobMetric
    from clustercockpit.site import Site


def load_series(
    site: Site,
    user: User,
    job: Job,
    metrics: Sequence[str] | None,
    scopes: Sequence[MetricScope] | None,
    resolution: int,
) -> JobData:
    """What there is of the series asked for and the user may read; empty lists ask for nothing.
    UnavailableError naming the reasons where all of it failed."""
    from clustercockpit.metrics.http import readable_metrics  # NumPy: only for who asks for series

    metrics = readable_metrics(site, user, job, metrics)
    if (metrics is not None and not metrics) or (scopes is not None and not scopes):
        return {}
    loaded = site.metrics.load(job, metrics, scopes, resolution)
    if loaded.errors and not loaded.data:
        raise UnavailableError("; ".join(loaded.errors[:10]))
    return loaded.data


def default_resolution(site: Site) -> int:
    """Seconds between samples where the caller names none: the coarsest configured, else native (0)."""
    resampling = site.configuration.main.resampling
    return max(resampling.resolutions, default=0) if resampling is not None else 0


def flat(data: JobData) -> Iterator[tuple[str, MetricScope, JobMetric]]:
    """Metric by metric in the order of names, coarse scopes first."""
    for name in sorted(data):
        for scope in sorted(data[name], key=lambda scope: -scope.rank):
            yield name, scope, data[name][scope]
