"""`/api/debug`: what is held for a cluster, a host or a component, as JSON."""

from __future__ import annotations

from typing import Any

from cc_metric_store.engine import Engine
from clustercockpit.errors import InvalidInputError


def describe(engine: Engine, selector: list[str]) -> Any:
    """Clusters and their hosts; the hosts of a cluster; the series of a host with their windows.

    Times in Unix seconds. InvalidInputError for a name that does not exist.
    """
    if not selector:
        counts: dict[str, int] = {}
        for host in engine.hosts:
            counts[host.cluster] = counts.get(host.cluster, 0) + 1
        return {"clusters": counts, "series": engine.series.count}
    if len(selector) == 1:
        hosts = sorted(host.name for host in engine.hosts if host.cluster == selector[0])
        if not hosts:
            raise InvalidInputError(f"nothing is known of cluster {selector[0]!r:.80}")
        return {"cluster": selector[0], "hosts": hosts}
    with engine.lock:
        found = engine.host_ids.get((selector[0], selector[1]))
        if found is None:
            raise InvalidInputError(f"nothing is known of host {selector[1]!r:.80}")
        component = ":".join(selector[2:])  # PCI addresses hold colons
        blocks = []
        for identifier in found.blocks.values():
            block = engine.store.blocks[identifier]
            series = []
            for number in block.series[: block.rows].tolist():
                part = engine.names.components[engine.series.component[number]]
                if component and component not in (part.name, f"{part.name}:{part.subname}"):
                    continue
                last = int(engine.series.last_slot[number]) * block.timestep + int(
                    engine.series.phase[number]
                )
                series.append(
                    {
                        "metric": engine.names.metrics[engine.series.name[number]],
                        "component": part.name,
                        "subcomponent": part.subname,
                        "phase": int(engine.series.phase[number]),
                        "last": last,
                    }
                )
            windows = [
                {
                    "start": window * block.slots * block.timestep,
                    "end": block.window_end(window),
                    "saved": window in block.sealed,
                    "bytes": len(block.sealed[window].content) if window in block.sealed else None,
                    "late": len(block.patches.get(window, ())),
                }
                for window in block.windows()
            ]
            blocks.append({"timestep": block.timestep, "windows": windows, "series": series})
    return {"cluster": found.cluster, "host": found.name, "blocks": blocks}
