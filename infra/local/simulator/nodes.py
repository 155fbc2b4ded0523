"""What the sensors of a node show, given the jobs on it: the values of every metric at its sample times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simulator import noise
from simulator.applications import Activity, Place, healthy
from simulator.clusters import DemoCluster, NodeShape
from simulator.noise import Floats, Ints
from simulator.schedule import Allocation, Job

FINE, COARSE = 15, 60  # seconds between samples of the two groups of metrics
IDLE_DEVICE_WATTS, DEVICE_WATTS = 55.0, 400.0
DEVICE_CLOCK = 1410.0  # MHz


@dataclass(frozen=True)
class Fault:
    """What is wrong with a node whatever runs on it (D7): its sockets, or one accelerator, clock lower."""

    host: str
    factor: float
    device: int | None = None


def fault_of(cluster: DemoCluster, seed: int) -> Fault:
    """The one ill node of a cluster. It stays ill, so that several users' jobs meet it."""
    random = noise.generator("fault", seed, cluster.name)
    if any(shape.accelerators for shape in cluster.shapes.values()):
        host = cluster.hosts[int(random.integers(len(cluster.hosts)))]
        return Fault(host, 0.62, int(random.integers(len(cluster.shape(host).accelerators))))
    return Fault(cluster.hosts[int(random.integers(12))], 0.7)


class Node:
    """One node's sensors. `phase` is when in a minute its collector samples: no two nodes are in step."""

    def __init__(self, cluster: DemoCluster, host: str, *, seed: int, fault: Fault | None = None) -> None:
        self.cluster = cluster
        self.host = host
        self.shape = cluster.shape(host)
        self.fault = fault if fault is not None and fault.host == host else None
        self._key = noise.key("node", seed, cluster.name, host)
        self.phase = self._key % COARSE

    def ticks(self, after: int, until: int) -> Ints:
        """Sample times of the fine grid in (after, until]."""
        first = after + 1 + (self.phase - after - 1) % FINE
        return np.arange(first, until + 1, FINE, dtype=np.int64)

    def coarse(self, ticks: Ints) -> Ints:
        """Positions among `ticks` at which the slow metrics are sampled too."""
        return np.flatnonzero(ticks % COARSE == self.phase)

    @cached_property
    def _domain_of_thread(self) -> Ints:
        return _group_of_thread(self.shape.domains, self.shape.threads)

    def sample(self, ticks: Ints, jobs: Iterable[tuple[Job, int]]) -> Mapping[str, Floats]:
        """Metric name → (times, units) values at all ticks. `jobs`: jobs and the index of this node in
        each. Units are in the order of the topology; slow metrics are computed at every tick too and
        thinned out by the sender."""
        n, shape = len(ticks), self.shape
        total = _nothing(n, shape)
        traffic = np.zeros((n, len(shape.domains)))  # GB/s of each memory domain
        slow = self.fault.factor if self.fault and self.fault.device is None else 1.0
        for job, index in jobs:
            rows = slice(*np.searchsorted(ticks, (job.start, job.end)))
            times = ticks[rows]
            if len(times) == 0:
                continue
            allocation = job.allocations[index]
            activity = job_activity(job, index, allocation, times, shape)
            self._add(total, traffic, activity, rows, allocation, slow)
        return self._sensors(ticks, total, traffic, slow)

    def _add(
        self, total: Activity, traffic: Floats, one: Activity, rows: slice, on: Allocation, slow: float
    ) -> None:
        threads = np.asarray(on.threads)
        total.busy[rows, threads] += one.busy
        total.flops[rows, threads] += one.flops * slow
        total.ipc[rows, threads] = one.ipc
        domains = np.zeros((one.busy.shape[0], len(self.shape.domains)))
        for domain in range(len(self.shape.domains)):
            mine = self._domain_of_thread[threads] == domain
            if mine.any():
                domains[:, domain] = one.busy[:, mine].sum(axis=1)
        weight = domains / np.maximum(domains.sum(axis=1, keepdims=True), 1e-9)
        traffic[rows] += one.bandwidth[:, None] * weight * slow
        for name in (
            "memory", "waiting", "received", "sent", "read", "written", "requests", "opens", "attributes"
        ):  # fmt: skip
            getattr(total, name)[rows] += getattr(one, name)
        if on.accelerators:
            devices = np.asarray(on.accelerators)
            for name in ("acc_busy", "acc_memory", "acc_power", "acc_processes"):
                getattr(total, name)[rows, devices] += getattr(one, name)

    def _sensors(self, t: Ints, a: Activity, traffic: Floats, slow: float) -> Mapping[str, Floats]:
        """From activity to what sensors report, with the system's own small share and noise."""
        shape, key = self.shape, self._key
        busy = np.clip(a.busy, 0, 1)
        jitter = noise.normal(key, t)
        drift = noise.wander(key ^ 0x14, t, 80)
        per_thread = noise.uniform(key ^ 0x11, t[:, None] * 512 + np.arange(shape.threads))
        system = 0.004 * per_thread**3
        sockets = len(shape.sockets)
        load = np.zeros((len(t), sockets))
        rate = np.zeros((len(t), sockets))
        for socket, group in enumerate(shape.sockets):
            load[:, socket] = busy[:, group].mean(axis=1)
            rate[:, socket] = a.flops[:, group].sum(axis=1) / (shape.peak_flops / sockets)
        socket_index = t[:, None] * 8 + np.arange(sockets)
        socket_jitter = noise.normal(key ^ 0x12, socket_index)
        clock = (3300 - 700 * load - 500 * np.clip(rate * 4, 0, 1)) * slow * (1 + 0.004 * socket_jitter)
        watts = (82 + load * 110 + np.clip(rate * 3, 0, 1) * 55) * (0.35 + 0.65 * slow) + 1.5 * socket_jitter
        cores = np.zeros((len(t), len(shape.cores)))
        weight = np.zeros_like(cores)
        for lane in range(shape.threads_per_core):
            lanes = [core[lane] for core in shape.cores]
            cores += a.ipc[:, lanes] * busy[:, lanes] + 1e-3 * a.ipc[:, lanes]
            weight += busy[:, lanes] + 1e-3
        packets = 1e6 / 2048.0
        out: dict[str, Floats] = {
            "cpu_load": _column(
                (busy.sum(axis=1) + a.waiting) * (1 + 0.015 * drift) + 0.15 + 0.05 * np.abs(jitter)
            ),
            "cpu_user": 100 * np.clip(busy + system, 0, 1),
            "flops_any": a.flops + 0.001 * per_thread,
            "ipc": cores / weight,
            "clock": clock,
            "mem_bw": traffic
            + 0.15
            + 0.05 * noise.uniform(key ^ 0x13, t[:, None] * 8 + np.arange(len(shape.domains))),
            "mem_used": _column(np.minimum(a.memory + 4.2 + 0.05 * jitter, shape.memory * 0.998)),
            "cpu_power": watts,
            "mem_power": 9
            + 30 * _per_socket(traffic, sockets) / (shape.peak_bandwidth / sockets)
            + 0.3 * np.abs(socket_jitter),
            "ib_recv": _column(a.received + 0.01 * np.abs(jitter)),
            "ib_xmit": _column(a.sent + 0.01 * np.abs(jitter)),
            "ib_recv_pkts": _column(a.received * packets + 12),
            "ib_xmit_pkts": _column(a.sent * packets + 11),
            "file_read": _column(np.maximum(a.read, 0)),
            "file_write": _column(np.maximum(a.written, 0)),
            "file_requests": _column(a.requests * (1 + 0.05 * jitter) + 0.5),
            "file_opens": _column(a.opens * (1 + 0.05 * jitter)),
            "file_closes": _column(a.opens * (1 + 0.05 * jitter) * 0.998),
            "file_attributes": _column(a.attributes * (1 + 0.05 * jitter) + 0.2),
        }
        if shape.accelerators:
            out |= self._device_sensors(t, a)
        return {name: np.maximum(values, 0.0) for name, values in out.items() if name in self.cluster.metrics}

    def _device_sensors(self, t: Ints, a: Activity) -> dict[str, Floats]:
        devices = len(self.shape.accelerators)
        index = t[:, None] * 16 + np.arange(devices)
        jitter = noise.normal(self._key ^ 0x21, index)
        throttle = np.ones(devices)
        heat = np.zeros(devices)
        if self.fault is not None and self.fault.device is not None:
            throttle[self.fault.device] = self.fault.factor
            heat[self.fault.device] = 26.0
        working = (a.acc_busy > 0.02).astype(float)
        power = IDLE_DEVICE_WATTS + a.acc_power * (DEVICE_WATTS - IDLE_DEVICE_WATTS) * throttle
        return {
            "acc_utilization": np.clip(np.round(100 * a.acc_busy), 0, 100),
            "acc_mem_used": a.acc_memory + 0.45,
            "acc_power": power + 1.2 * jitter,
            "acc_temp": np.round(31 + 0.088 * (power - IDLE_DEVICE_WATTS) + heat * working + 0.7 * jitter),
            "acc_sm_clock": np.where(
                working > 0, DEVICE_CLOCK * throttle - 15 * np.abs(jitter).round(), 210.0
            ),
            "acc_mem_util": np.round(np.clip(55 * a.acc_busy * (1 + 0.08 * jitter), 0, 100)),
            "acc_processes": np.round(a.acc_processes),
        }


def job_activity(job: Job, index: int, allocation: Allocation, times: Ints, shape: NodeShape) -> Activity:
    """The activity of a job on one of its nodes, its troubles included."""
    submission = job.submission
    place = Place(
        times=times, start=job.start, end=job.end, index=index, nodes=len(job.allocations), shape=shape,
        threads=len(allocation.threads), devices=len(allocation.accelerators),
        memory_limit=submission.memory, key=job.key,
    )  # fmt: skip
    activity = healthy(submission.app, place)
    for trouble in submission.troubles:
        trouble.apply(activity, place)
    return activity


def _nothing(n: int, shape: NodeShape) -> Activity:
    threads, devices = shape.threads, len(shape.accelerators)
    rows = {name: np.zeros(n) for name in (
        "bandwidth", "memory", "waiting", "received", "sent", "read", "written", "requests", "opens",
        "attributes")}  # fmt: skip
    of_devices = {
        name: np.zeros((n, devices)) for name in ("acc_busy", "acc_memory", "acc_power", "acc_processes")
    }
    return Activity(
        busy=np.zeros((n, threads)), flops=np.zeros((n, threads)), ipc=np.full((n, threads), 0.6),
        **rows, **of_devices,
    )  # fmt: skip


def _group_of_thread(groups: Sequence[Sequence[int]], threads: int) -> Ints:
    of = np.zeros(threads, dtype=np.int64)
    for number, group in enumerate(groups):
        of[list(group)] = number
    return of


def _column(values: Floats) -> Floats:
    return values[:, None]


def _per_socket(domains: Floats, sockets: int) -> Floats:
    """Sums of neighbouring memory domains: the demo nodes have as many in each socket."""
    summed: Floats = domains.reshape(domains.shape[0], sockets, -1).sum(axis=2)
    return summed
