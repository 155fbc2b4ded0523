"""What Prometheus sees at `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from cc_metric_store.retention import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from cc_metric_store.service import Service

_UNKNOWN_SHOWN = 50


class Telemetry:
    """Collects the figures of a service when asked, so that counting costs the paths nothing."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        service, engine = self._service, self._service.engine
        totals = engine.totals
        lines = CounterMetricFamily(
            "cc_store_lines", "Lines received, by what became of them", labels=["result"]
        )
        lines.add_metric(["accepted"], totals.accepted)
        lines.add_metric(["unknown"], totals.unknown)
        lines.add_metric(["late"], totals.patched)
        yield lines
        rejected = CounterMetricFamily(
            "cc_store_rejected_lines", "Lines refused, by reason", labels=["reason"]
        )
        for reason, count in sorted(totals.rejected.items()):
            rejected.add_metric([reason], count)
        yield rejected
        unknown = CounterMetricFamily(
            "cc_store_unknown_metric_lines", "Lines of metrics nobody configured", labels=["metric"]
        )
        for name, count in engine.unknown().most_common(_UNKNOWN_SHOWN):
            unknown.add_metric([name], count)
        yield unknown
        gauges = {
            "cc_store_series": ("Series known", engine.series.count),
            "cc_store_hosts": ("Hosts known", len(engine.hosts)),
            "cc_store_data_bytes": ("Bytes of samples held", engine.data_bytes()),
            "cc_store_resident_bytes": ("Memory of the process", resident_bytes()),
            "cc_store_memory_cap_bytes": ("Effective memory cap", service.retention.cap),
            "cc_store_over_cap": ("1: memory stays over the cap", int(service.retention.counters.over_cap)),
            "cc_store_protected_hosts": ("Hosts spared from freeing", len(service.retention.protected)),
            "cc_store_ready": ("1: questions are answered", int(service.ready)),
            "cc_store_kernel": ("1: lines are placed by compiled code", int(engine.kernel is not None)),
        }  # fmt: skip
        if service.checkpointer is not None:
            age = engine.clock() - service.checkpointer.manifest.written
            gauges["cc_store_checkpoint_age_seconds"] = ("Time since the last checkpoint", int(age))
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)
        counters = service.retention.counters
        freed = CounterMetricFamily("cc_store_freed_windows", "Windows dropped, by cause", labels=["cause"])
        freed.add_metric(["age"], counters.freed_by_age)
        freed.add_metric(["pressure"], counters.freed_by_pressure)
        freed.add_metric(["protected"], counters.freed_protected)
        yield freed
        latency = GaugeMetricFamily(
            "cc_store_latency_seconds", "Recent requests", labels=["path", "quantile"]
        )
        for path, recent in service.application.latencies.items():
            ordered = sorted(recent)
            for quantile in (0.5, 0.99):
                latency.add_metric([path, str(quantile)], ordered[int(quantile * (len(ordered) - 1))])
        yield latency
