"""Series of a job. Arrays go out as text made in one go (`graphql.scalars.encoded`).

`spec/graphql-api.md` 3.3, 8.3 and chapter 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ariadne import ObjectType

from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import InvalidInputError
from clustercockpit.graphql.context import Info
from clustercockpit.graphql.jobs import job_by_id
from clustercockpit.graphql.roots import query
from clustercockpit.query.series import default_resolution, flat, load_series

statistics = ObjectType("MetricStatistics")
stats_series = ObjectType("StatsSeries")


@query.field("jobMetrics")
def resolve_job_metrics(
    _root: None,
    info: Info,
    id: str,
    metrics: Sequence[str] | None = None,
    scopes: Sequence[MetricScope] | None = None,
    resolution: int | None = None,
) -> list[dict[str, Any]]:
    context = info.context
    if resolution is None:
        resolution = default_resolution(context.site)
    if resolution < 0:
        raise InvalidInputError(f"resolution must be 0 or a number of seconds, not {resolution}")
    data = load_series(context.site, context.user, job_by_id(context, id), metrics, scopes, resolution)
    return [{"name": name, "scope": scope, "metric": metric} for name, scope, metric in flat(data)]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


for _name in ("avg", "min", "max"):
    # Of a series without any sample: 0, as the reference says
    statistics.set_field(_name, lambda it, info: _finite(getattr(it, info.field_name)))


@stats_series.field("mean")
def resolve_mean(series: Any, _info: Info) -> Any:
    return () if series.mean is None else series.mean


BINDABLES = (statistics, stats_series)
