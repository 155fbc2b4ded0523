"""The demo clusters: their documents, and what a scheduler and a collector know of them.

`documents()` gives the `cluster.json` texts to be installed into an archive as `<name>/cluster.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

NAMES = ("kestrel", "heron")


def documents() -> dict[str, bytes]:
    """Cluster name → its document, as it goes into the archive."""
    return {name: files(__package__).joinpath(f"{name}.json").read_bytes() for name in NAMES}


def load(name: str) -> DemoCluster:
    """The cluster of that name. Raises KeyError naming the known ones."""
    try:
        text = documents()[name]
    except KeyError:
        raise KeyError(f"no demo cluster {name!r}, there are {', '.join(NAMES)}") from None
    return DemoCluster.from_document(json.loads(text))


@dataclass(frozen=True)
class Metric:
    name: str
    scope: str  # the type tag: node, socket, memoryDomain, core, hwthread, accelerator
    step: int  # seconds


@dataclass(frozen=True)
class NodeShape:
    """What one node of a subcluster consists of. Groups list hardware thread ids."""

    threads: int
    sockets: tuple[tuple[int, ...], ...]
    domains: tuple[tuple[int, ...], ...]
    cores: tuple[tuple[int, ...], ...]
    accelerators: tuple[str, ...]
    memory: float  # GB
    peak_flops: float  # GF/s of the whole node
    peak_bandwidth: float  # GB/s of the whole node

    @property
    def threads_per_core(self) -> int:
        return self.threads // len(self.cores)


@dataclass(frozen=True)
class DemoCluster:
    name: str
    metrics: Mapping[str, Metric]
    sub_clusters: Mapping[str, tuple[str, ...]]  # name → hosts
    shapes: Mapping[str, NodeShape]  # subcluster → its nodes

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DemoCluster:
        metrics = {m["name"]: Metric(m["name"], m["scope"], m["timestep"]) for m in document["metricConfig"]}
        memory = next(m for m in document["metricConfig"] if m["name"] == "mem_used")
        peaks = {o["name"]: o["peak"] for o in memory.get("subClusters", ())}
        hosts, shapes = {}, {}
        for sub in document["subClusters"]:
            topology = sub["topology"]
            hosts[sub["name"]] = tuple(expand(sub["nodes"]))
            shapes[sub["name"]] = NodeShape(
                threads=len(topology["node"]),
                sockets=_groups(topology["socket"]),
                domains=_groups(topology["memoryDomain"]),
                cores=_groups(topology["core"]),
                accelerators=tuple(a["id"] for a in topology.get("accelerators", ())),
                memory=float(peaks.get(sub["name"], memory["peak"])),
                peak_flops=float(sub["flopRateSimd"]["value"]),
                peak_bandwidth=float(sub["memoryBandwidth"]["value"]),
            )
        return cls(document["name"], metrics, hosts, shapes)

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        return tuple(host for hosts in self.sub_clusters.values() for host in hosts)

    @cached_property
    def sub_cluster_of(self) -> Mapping[str, str]:
        return {host: name for name, hosts in self.sub_clusters.items() for host in hosts}

    def shape(self, host: str) -> NodeShape:
        return self.shapes[self.sub_cluster_of[host]]


def _groups(lists: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(group) for group in lists)


def expand(nodes: str) -> Iterator[str]:
    """Hosts of a node list as the demo documents write them: `kst[001-020]`, one bracket, one range."""
    matched = re.fullmatch(r"([a-z]+)\[(\d+)-(\d+)\]", nodes)
    if matched is None:
        raise ValueError(f"demo node list {nodes!r} is not of the form abc[01-20]")
    prefix, first, last = matched.groups()
    for number in range(int(first), int(last) + 1):
        yield f"{prefix}{number:0{len(first)}d}"
