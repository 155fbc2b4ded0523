"""`ui-config.json`: the site's defaults of what people see, as the flat keys of the browser application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clustercockpit.errors import ConfigurationError

# (object in the document, key in it, resulting key, default)
_SIMPLE: tuple[tuple[str, str, str, Any], ...] = (
    ("job-list", "use-paging", "jobList_usePaging", False),
    ("job-list", "show-footprint", "jobList_showFootprint", False),
    ("node-list", "use-paging", "nodeList_usePaging", False),
    ("job-view", "show-polar-plot", "jobView_showPolarPlot", True),
    ("job-view", "show-footprint", "jobView_showFootprint", False),
    ("job-view", "show-roofline", "jobView_showRoofline", True),
    ("job-view", "show-stat-table", "jobView_showStatTable", True),
    ("plot-configuration", "color-background", "plotConfiguration_colorBackground", True),
    ("plot-configuration", "plots-per-row", "plotConfiguration_plotsPerRow", 3),
    ("plot-configuration", "line-width", "plotConfiguration_lineWidth", 3),
    (
        "plot-configuration",
        "color-scheme",
        "plotConfiguration_colorScheme",
        ["#00bfff", "#0000ff", "#ff00ff", "#ff0000", "#ff8000", "#ffff00", "#80ff00"],
    ),
)
_METRICS: tuple[tuple[str, str, list[str]], ...] = (
    ("job-list-metrics", "metricConfig_jobListMetrics", ["cpu_load", "flops_any", "mem_bw", "mem_used"]),
    (
        "job-view-plot-metrics",
        "metricConfig_jobViewPlotMetrics",
        ["cpu_load", "flops_any", "mem_bw", "mem_used"],
    ),
    ("job-view-table-metrics", "metricConfig_jobViewTableMetrics", ["flops_any", "mem_bw", "mem_used"]),
)


def ui_defaults(section: Mapping[str, Any], *, short_job_seconds: int = 300) -> dict[str, Any]:
    """The map the browser application and the users' settings start from. `section` is the content of
    `ui-config.json`; arrays replace the defaults, they are not appended.

    Raises ConfigurationError naming the key.
    """
    result: dict[str, Any] = {}
    for part, key, name, default in _SIMPLE:
        value = _object(section, part).get(key, default)
        _check(f"ui.{part}.{key}", value, default)
        result[name] = value
    metrics = _object(section, "metric-config")
    for key, name, default in _METRICS:
        result[name] = _texts(f"ui.metric-config.{key}", metrics.get(key, default))
    for i, cluster in enumerate(_objects("ui.metric-config.clusters", metrics.get("clusters", []))):
        where = f"ui.metric-config.clusters[{i}]"
        cluster_name = _name(where, cluster)
        _overrides(result, where, cluster, cluster_name)
        parts = _objects(f"{where}.sub-clusters", cluster.get("sub-clusters", []))
        for j, part_of in enumerate(parts):
            place = f"{where}.sub-clusters[{j}]"
            _overrides(result, place, part_of, f"{cluster_name}:{_name(place, part_of)}")
    result["jobList_hideShortRunningJobs"] = short_job_seconds
    return result


def _overrides(result: dict[str, Any], where: str, entry: Mapping[str, Any], suffix: str) -> None:
    for key, name, _ in _METRICS:
        if key in entry:
            result[f"{name}:{suffix}"] = _texts(f"{where}.{key}", entry[key])


def _object(section: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = section.get(key, {})
    if not isinstance(value, dict):
        raise ConfigurationError(f"ui.{key}: expected an object")
    return value


def _objects(where: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ConfigurationError(f"{where}: expected an array of objects")
    return value


def _name(where: str, entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{where}.name: expected the name of a cluster or subcluster")
    return name


def _texts(where: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ConfigurationError(f"{where}: expected an array of strings")
    return value


def _check(where: str, value: Any, default: Any) -> None:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{where}: expected true or false")
    elif isinstance(default, int):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"{where}: expected a whole number from 1")
    else:
        _texts(where, value)
