"""The queues of the demo clusters: which nodes, which programs, which troubles are met there."""

from __future__ import annotations

from simulator.applications import (
    ACC_APPLICATIONS,
    BIG_MEMORY_APPLICATIONS,
    CPU_APPLICATIONS,
    NODE_APPLICATIONS,
)
from simulator.clusters import DemoCluster
from simulator.workload import Partition


def of(cluster: DemoCluster) -> tuple[Partition, ...]:
    """Partitions of a demo cluster; together they cover its nodes once."""
    return _kestrel(cluster) if cluster.name == "kestrel" else _heron(cluster)


def _kestrel(cluster: DemoCluster) -> tuple[Partition, ...]:
    main, big = cluster.sub_clusters["main"], cluster.sub_clusters["bigmem"]
    shape = cluster.shapes["main"]
    return (
        Partition(
            cluster.name, "standard", main[:16], "exclusive",
            # Most of the nodes go to programs that need several.
            (*CPU_APPLICATIONS, *CPU_APPLICATIONS, *NODE_APPLICATIONS),
            (1, 1, 1, 2, 2, 3, 4), shape.threads, 0, shape.memory,
            ("unused nodes", "serial", "wrong pinning", "oversubscription", "imbalance", "memory growth",
             "over-requested time", "metadata storm", "io stalls", "hung"),
        ),
        Partition(
            cluster.name, "shared", main[16:], "shared", NODE_APPLICATIONS,
            (4, 6, 8, 12, 18), shape.threads, 0, shape.memory,
            ("serial", "over-requested time", "over-requested memory", "failure storm", "healthy array",
             "healthy array"), waiting=6,
        ),
        Partition(
            cluster.name, "bigmem", big, "exclusive", BIG_MEMORY_APPLICATIONS,
            (1,), shape.threads, 0, cluster.shapes["bigmem"].memory,
            ("over-requested memory", "memory growth"), waiting=1,
        ),
    )  # fmt: skip


def _heron(cluster: DemoCluster) -> tuple[Partition, ...]:
    hosts = cluster.hosts
    shape = cluster.shapes["a100"]
    devices = len(shape.accelerators)
    return (
        Partition(
            cluster.name, "gpu-nodes", hosts[:3], "exclusive",
            tuple(a for a in ACC_APPLICATIONS if a.parallel == "nodes"),
            (1, 1, 2), shape.threads, devices, shape.memory,
            ("idle devices", "hung", "unused nodes", "badly fed"), waiting=2,
        ),
        Partition(
            cluster.name, "gpu-shared", hosts[3:], "shared", ACC_APPLICATIONS,
            (1, 1, 2, 4), shape.threads, devices, shape.memory,
            ("idle devices", "badly fed", "over-requested time", "idle devices"), waiting=4,
        ),
    )  # fmt: skip
