"""What Prometheus sees at `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from cc_metric_store.retention import resident_bytes
from cc_metric_store.segment_log import SegmentLog

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
            gauges["cc_store_checkpoint_failures"] = (
                "Checkpoints that failed, since the start", service.checkpointer.failures,
            )  # fmt: skip
        gauges["cc_store_log_waiting_bytes"] = ("Bytes of writes not durable yet", service.log.waiting_bytes)
        gauges["cc_store_replayed_writes"] = ("Logged writes placed at the start", service.replayed)
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)
        yield from self._log_metrics()
        yield from self._nats_metrics()
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

    def _log_metrics(self) -> Iterable[Metric]:
        log = self._service.log
        if not isinstance(log, SegmentLog):
            return
        yield GaugeMetricFamily(
            "cc_store_log_segments", "Segments that no checkpoint covers yet", value=log.segments_held
        )
        events = CounterMetricFamily("cc_store_log_events", "Of the log of writes", labels=["event"])
        for event in ("commits", "failures", "refused", "late", "damaged", "missing"):
            events.add_metric([event], getattr(log.counters, event))
        yield events
        yield CounterMetricFamily("cc_store_log_bytes", "Written to segments", value=log.counters.bytes)

    def _nats_metrics(self) -> Iterable[Metric]:
        ingest = self._service.nats
        if ingest is None:
            return
        yield GaugeMetricFamily(
            "cc_store_nats_connected", "1: connected", value=int(ingest.counters.connected)
        )
        yield CounterMetricFamily(
            "cc_store_nats_disconnects", "Connections lost", value=ingest.counters.disconnects
        )
        yield CounterMetricFamily(
            "cc_store_nats_unlogged_messages",
            "Messages of core NATS placed while the log could not take more",
            value=ingest.counters.unlogged,
        )
        gauges = {
            "lag_messages": "Messages in the stream that are not placed yet",
            "sequence": "Sequence of the stream placed last",
        }
        counters = {
            "messages": "Messages placed",
            "gaps": "Messages that the stream lost before they were read",
            "resets": "Times the stream was another one than before",
            "repeated": "Deliveries that came twice and were left out",
            "broken": "Times a consumer had to be made anew",
            "untagged": "Lines without a cluster that no node list resolves",
        }
        for name, text in gauges.items():
            gauge = GaugeMetricFamily(f"cc_store_nats_{name}", text, labels=["subject"])
            for state in ingest.subjects.values():
                gauge.add_metric([state.subject], state.lag if name == "lag_messages" else state.sequence)
            yield gauge
        for name, text in counters.items():
            counter = CounterMetricFamily(f"cc_store_nats_{name}", text, labels=["subject"])
            for state in ingest.subjects.values():
                counter.add_metric([state.subject], getattr(state, name))
            yield counter
        modes = GaugeMetricFamily(
            "cc_store_nats_mode", "1: how the subject is read now", labels=["subject", "mode"]
        )
        for state in ingest.subjects.values():
            modes.add_metric([state.subject, state.mode], 1)
        yield modes
