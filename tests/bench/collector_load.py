"""Lines as a node's collector sends them: the Fritz profile of `spec/metric-store.md` 24.

Per node and minute 519 lines of configured metrics (9 at node, 3 at socket, 7 at hwthread level; 72 threads,
2 sockets) and 705 of metrics nobody configured, tags in the collector's order, 17-digit floats for what
hardware counters compute, integers and short decimals for the rest.
"""

from __future__ import annotations

import random

from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from clustercockpit.clusters.model import MetricScope

NODE_METRICS = [
    "cpu_load",
    "mem_used",
    "net_bytes_in",
    "net_bytes_out",
    "ib_recv",
    "ib_xmit",
    "file_read",
    "file_write",
    "nfs_ops",
]
SOCKET_METRICS = ["mem_bw", "mem_power", "cpu_power"]
THREAD_METRICS = ["cpu_user", "flops_any", "flops_sp", "flops_dp", "ipc", "clock", "vectorization_ratio"]
UNKNOWN_THREAD = [
    "cpu_nice",
    "cpu_system",
    "cpu_idle",
    "cpu_iowait",
    "cpu_irq",
    "cpu_softirq",
    "cpu_steal",
    "cpu_guest",
    "cpu_guest_nice",
]
UNKNOWN_NODE = (
    [f"{name}_total" for name in ("cpu_user", "mem", "swap", "net", "disk")]
    + [
        f"{field}_{n}"
        for n in range(7)
        for field in ("iostat_reads", "iostat_writes", "iostat_busy", "iostat_queue")
    ]
    + ["num_cpus"] * 15
)
THREADS, SOCKETS = 72, 2
KNOWN = len(NODE_METRICS) + SOCKETS * len(SOCKET_METRICS) + THREADS * len(THREAD_METRICS)


def catalog() -> StaticCatalog:
    table = {}
    for names, scope in (
        (NODE_METRICS, MetricScope.NODE),
        (SOCKET_METRICS, MetricScope.SOCKET),
        (THREAD_METRICS, MetricScope.HWTHREAD),
    ):
        for name in names:
            average = name in ("cpu_load", "cpu_user", "ipc", "clock", "vectorization_ratio")
            table[name] = MetricDefinition(name, 60, "avg" if average else "sum", scope)
    return StaticCatalog({"fritz": table})


class Node:
    """One node; `precise`: hwthread values are full-precision floats, otherwise they have two decimals."""

    def __init__(self, number: int, seed: int = 1, *, precise: bool = True) -> None:
        self.host = f"f{number:04d}"
        self.chance = random.Random(seed * 100_003 + number)
        self.precise = precise
        self.phase = self.chance.randrange(60)
        self.keys = [
            *(f"{m},cluster=fritz,hostname={self.host},type=node" for m in NODE_METRICS),
            *(
                f"{m},cluster=fritz,hostname={self.host},type=socket,type-id={s}"
                for m in SOCKET_METRICS
                for s in range(SOCKETS)
            ),
            *(self._thread(m, t) for t in range(THREADS) for m in THREAD_METRICS),
        ]
        self.unknown = [
            *(self._thread(m, t) for t in range(THREADS) for m in UNKNOWN_THREAD),
            *(f"{m},cluster=fritz,device=sda,hostname={self.host},type=node" for m in UNKNOWN_NODE),
            *(self._thread("cpufreq", t) for t in range(9)),
        ]
        self.levels = [self.chance.uniform(1, 100) for _ in self.keys]

    def _thread(self, metric: str, thread: int) -> str:
        unit = ",unit=Percent" if metric.startswith("cpu_") else ""
        return f"{metric},cluster=fritz,hostname={self.host},type=hwthread,type-id={thread}{unit}"

    def minute(self, start: int) -> bytes:
        """All lines of the minute that begins at `start` (Unix seconds)."""
        time = start + self.phase
        gauss = self.chance.gauss
        levels = self.levels
        form = "{} value={} {}" if self.precise else "{} value={:.2f} {}"
        lines = []
        for index, key in enumerate(self.keys):
            if index < 9:
                level = levels[index] = levels[index] + self.chance.randrange(1000)
                lines.append(
                    f"{key} value={int(level)}i {time}" if index else f"{key} value={level % 72:.2f} {time}"
                )
            else:
                lines.append(form.format(key, abs(levels[index] + gauss(0, 1)), time))
        lines += [f"{key} value={abs(gauss(5, 2))} {time}" for key in self.unknown]
        return ("\n".join(lines) + "\n").encode()


UNKNOWN = THREADS * len(UNKNOWN_THREAD) + len(UNKNOWN_NODE) + 9
LINES = KNOWN + UNKNOWN
