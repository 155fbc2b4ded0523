"""What programs do to a node: healthy application profiles, and the activity one job causes on one node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator import noise
from simulator.clusters import NodeShape
from simulator.noise import Floats, Ints

Parallel = Literal["nodes", "threads"]  # runs across nodes, or within one


@dataclass(frozen=True)
class Application:
    """A healthy program. Rates are of a whole node in full swing; a share of a node takes its share."""

    name: str  # its executable, as it stands in the job script
    title: str  # the job name a user would give
    parallel: Parallel
    busy: float = 0.98  # user share of each of its hardware threads
    flops: float = 0.05  # of the node's peak
    ipc: float = 1.5
    bandwidth: float = 0.4  # of the node's peak
    memory: float = 0.3  # of its share of the node's memory
    network: float = 300.0  # MB/s and node, when on several nodes
    read: float = 200.0  # MB/s while starting
    write: float = 400.0  # MB/s at a checkpoint
    requests: float = 30.0  # file requests/s in full swing
    prologue: int = 60  # seconds of reading input and setting up
    period: int = 180  # seconds of one outer iteration
    depth: float = 0.15  # how far the rate drops within an iteration
    checkpoint_every: int = 1200
    checkpoint_for: int = 30
    memory_ramp: int = 120  # seconds until its memory is in place
    # On accelerators: utilisation 0 to 1, share of device memory, share of the power range
    acc_busy: float = 0.0
    acc_memory: float = 0.0
    acc_power: float = 0.0
    # A healthy trait that looks like a diagnosis at a careless glance, or ""
    resembles: str = ""

    @property
    def uses_accelerators(self) -> bool:
        return self.acc_busy > 0


CPU_APPLICATIONS = (
    Application("gmx_mpi", "md-membrane", "nodes", flops=0.13, ipc=2.1, bandwidth=0.12, memory=0.06,
                network=900, period=90, depth=0.05, checkpoint_every=900, checkpoint_for=15, write=60),
    Application("simpleFoam", "wing-les", "nodes", flops=0.03, ipc=0.8, bandwidth=0.82, memory=0.38,
                network=350, period=240, depth=0.25, checkpoint_every=1500, checkpoint_for=45, write=900),
    Application("vasp_std", "perovskite-relax", "nodes", flops=0.16, ipc=1.7, bandwidth=0.5, memory=0.42,
                network=1500, period=420, depth=0.4, checkpoint_every=3600, checkpoint_for=20),
    Application("chroma", "lattice-64", "nodes", flops=0.11, ipc=1.1, bandwidth=0.72, memory=0.25,
                network=2600, period=150, depth=0.2, checkpoint_every=1800, checkpoint_for=40, write=700),
    Application("wrf.exe", "alps-3km", "nodes", flops=0.04, ipc=1.0, bandwidth=0.55, memory=0.33,
                network=500, period=300, depth=0.3, checkpoint_every=600, checkpoint_for=35, write=1200,
                requests=120, resembles="D10"),
    Application("pw.x", "defect-scf", "nodes", flops=0.2, ipc=1.9, bandwidth=0.45, memory=0.5,
                network=1100, period=360, depth=0.35, checkpoint_every=2400, checkpoint_for=25),
)  # fmt: skip
NODE_APPLICATIONS = (
    Application("bwa", "align-cohort", "threads", flops=0.002, ipc=1.3, bandwidth=0.2, memory=0.35,
                read=600, requests=400, period=200, depth=0.2, checkpoint_every=900, write=300),
    Application("geant4", "detector-mc", "threads", flops=0.02, ipc=1.2, bandwidth=0.08, memory=0.12,
                period=600, depth=0.03, checkpoint_every=3000, checkpoint_for=10, write=80),
    Application("python", "sweep-ensemble", "threads", flops=0.015, ipc=1.4, bandwidth=0.25, memory=0.25,
                period=120, depth=0.3, checkpoint_every=1000, checkpoint_for=10, write=50),
    Application("java", "text-index", "threads", flops=0.001, ipc=0.9, bandwidth=0.3, memory=0.85,
                memory_ramp=20, period=150, depth=0.25, requests=150, resembles="D8"),
    Application("orca", "ligand-opt", "threads", flops=0.09, ipc=1.8, bandwidth=0.3, memory=0.4,
                period=300, depth=0.3, checkpoint_every=1500, checkpoint_for=15, write=120),
)  # fmt: skip
BIG_MEMORY_APPLICATIONS = (
    Application("metaspades", "soil-assembly", "threads", flops=0.002, ipc=0.7, bandwidth=0.6, memory=0.7,
                memory_ramp=900, read=900, period=500, depth=0.3, checkpoint_every=2400, write=800),
    Application("abaqus", "crash-implicit", "threads", flops=0.14, ipc=1.6, bandwidth=0.55, memory=0.6,
                memory_ramp=240, period=400, depth=0.3, checkpoint_every=1800, write=700),
)  # fmt: skip
ACC_APPLICATIONS = (
    Application("torchrun", "llm-pretrain", "nodes", busy=0.22, flops=0.006, ipc=1.2, bandwidth=0.15,
                memory=0.25, network=6500, read=900, write=2500, prologue=150, period=600, depth=0.06,
                checkpoint_every=1800, checkpoint_for=60, acc_busy=0.97, acc_memory=0.88, acc_power=0.9),
    Application("python", "resnet-train", "threads", busy=0.5, flops=0.008, ipc=1.3, bandwidth=0.2,
                memory=0.3, read=1200, requests=180, prologue=90, period=240, depth=0.2,
                checkpoint_every=600, checkpoint_for=30, acc_busy=0.88, acc_memory=0.6, acc_power=0.72),
    Application("gmx", "md-protein", "threads", busy=0.7, flops=0.03, ipc=1.7, bandwidth=0.1, memory=0.05,
                prologue=40, period=120, depth=0.04, checkpoint_every=900, checkpoint_for=10,
                acc_busy=0.82, acc_memory=0.05, acc_power=0.68),
    Application("lmp", "polymer-shear", "nodes", busy=0.3, flops=0.01, ipc=1.4, bandwidth=0.1, memory=0.08,
                network=1800, period=200, depth=0.08, checkpoint_every=1200, checkpoint_for=20,
                acc_busy=0.92, acc_memory=0.22, acc_power=0.8),
    Application("python", "embed-documents", "threads", busy=0.35, flops=0.004, ipc=1.2, bandwidth=0.15,
                memory=0.2, prologue=420, period=180, depth=0.3, checkpoint_every=900, checkpoint_for=15,
                acc_busy=0.75, acc_memory=0.35, acc_power=0.6, resembles="D1"),
)  # fmt: skip


@dataclass
class Activity:
    """What one job does on one node, a row per sample time. Columns of two-dimensional arrays are the
    job's hardware threads or accelerators there, in the order of its allocation."""

    busy: Floats  # (n, threads) user share 0 to 1
    flops: Floats  # (n, threads) GF/s
    ipc: Floats  # (n, threads)
    bandwidth: Floats  # (n,) GB/s, falls on memory domains as the busy threads lie
    memory: Floats  # (n,) GB
    waiting: Floats  # (n,) runnable processes beyond the busy threads
    received: Floats  # (n,) MB/s
    sent: Floats  # (n,) MB/s
    read: Floats  # (n,) MB/s
    written: Floats  # (n,) MB/s
    requests: Floats  # (n,) file requests/s
    opens: Floats  # (n,) /s
    attributes: Floats  # (n,) /s
    acc_busy: Floats  # (n, devices) 0 to 1
    acc_memory: Floats  # (n, devices) GB
    acc_power: Floats  # (n, devices) share of the range between idle and limit
    acc_processes: Floats  # (n, devices)


@dataclass(frozen=True)
class Place:
    """Where and when a job's activity is asked for: one of its nodes, at some times."""

    times: Ints  # Unix seconds, within the job
    start: int
    end: int
    index: int  # of this node among the job's
    nodes: int
    shape: NodeShape
    threads: int  # the job's hardware threads here
    devices: int  # the job's accelerators here
    memory_limit: float  # GB it may use here
    key: int  # of the job

    @property
    def since(self) -> Ints:
        """Seconds since the job's start."""
        return self.times - self.start


DEVICE_MEMORY = 80.0  # GB


def healthy(app: Application, at: Place) -> Activity:
    """The activity of a program that does what its user hopes."""
    since, n = at.since, len(at.times)
    share = at.threads / at.shape.threads
    # The ranks of one job go through the same phases, so these depend on the job, not on the node.
    prologue = min(app.prologue, max(5, (at.end - at.start) // 6))
    starting = since < prologue
    ending = at.times >= at.end - 8
    inside = since - prologue
    saving = ~starting & (inside % app.checkpoint_every >= app.checkpoint_every - app.checkpoint_for)
    swing = _iteration(app, inside / app.period)
    faster = 0.5 - 0.5 * np.cos(2 * np.pi * inside / (0.37 * app.period))
    rate = 1 - app.depth * (0.75 * swing + 0.25 * faster)
    # The problem itself changes over time, for all ranks; each node adds a little of its own.
    rate = rate * (
        0.96 + 0.05 * noise.wander(at.key, at.times, 700) + 0.03 * noise.wander(at.key, at.times, 50)
    )
    own = noise.key(at.key, at.index)
    skew = 0.97 + 0.03 * float(noise.uniform(own, np.zeros(1, np.int64))[0])
    rate = rate * (skew + 0.012 * noise.normal(own, at.times))
    rate = np.where(starting, 0.06, np.where(saving, 0.12, np.where(ending, 0.3, rate)))

    per_thread = at.times[:, None] * 4096 + np.arange(at.threads) + at.index * 256
    jitter = noise.normal(at.key ^ 0x1, per_thread)
    lazy = np.where(saving | starting, 0.35, 1.0) if not app.uses_accelerators else np.ones(n)
    busy = np.clip(app.busy * lazy[:, None] + 0.012 * jitter, 0.0, 1.0)
    if app.uses_accelerators:
        # The host threads of a device program are not alike: the first of each device drives it.
        wave = noise.uniform(at.key ^ 0x2, np.arange(at.threads) + at.index * 256)
        busy = np.clip(busy * (0.4 + 1.2 * wave), 0.0, 1.0)
    flops = rate[:, None] * app.flops * at.shape.peak_flops / at.shape.threads * (1 + 0.04 * jitter)
    ipc = np.clip(app.ipc * (0.55 + 0.45 * rate[:, None]) * (1 + 0.03 * jitter), 0.05, 4.0)

    ramp = np.clip(since / app.memory_ramp, 0.02, 1.0)
    node_wander = noise.wander(at.key ^ (0x10 + at.index), at.times, 300)
    memory = app.memory * at.memory_limit * ramp * (1 + 0.02 * node_wander - 0.03 * swing)
    across = app.network * rate * share if at.nodes > 1 else np.full(n, 0.02)
    network_noise = 1 + 0.1 * noise.normal(at.key ^ (0x2000 + at.index), at.times)
    devices = at.devices
    device_index = at.times[:, None] * 64 + np.arange(devices) + at.index * 8
    device_jitter = noise.normal(at.key ^ 0x3, device_index)
    ready = (~starting).astype(float)[:, None]
    return Activity(
        busy=busy,
        flops=np.maximum(flops, 0.0),
        ipc=ipc,
        bandwidth=rate * app.bandwidth * at.shape.peak_bandwidth * share * (1 + 0.02 * node_wander),
        memory=memory,
        waiting=np.zeros(n),
        received=np.maximum(across * network_noise, 0.0),
        sent=np.maximum(across * (2 - network_noise), 0.0),
        read=np.where(starting, app.read * share, 0.01 * app.read * rate * share),
        written=np.where(saving | ending, app.write * share, 0.2),
        requests=app.requests * share * np.where(starting | saving, 3.0, rate),
        opens=np.where(starting, 25.0, np.where(saving, 6.0, 0.3)) * share,
        attributes=np.where(starting, 60.0, 2.0) * share,
        acc_busy=np.clip(app.acc_busy * rate[:, None] + 0.02 * device_jitter, 0, 1) * ready,
        acc_memory=np.tile((app.acc_memory * DEVICE_MEMORY * ramp)[:, None], (1, devices)) * ready,
        acc_power=np.clip(app.acc_power * rate[:, None] + 0.02 * device_jitter, 0, 1) * ready,
        acc_processes=np.tile(ready, (1, devices)) * float(app.uses_accelerators),
    )


def _iteration(app: Application, turns: Floats) -> Floats:
    """How far a program is from full speed within one outer iteration, 0 to 1: programs differ in how."""
    part = turns % 1
    shape = noise.key("shape", app.title) % 3
    if shape == 0:  # ever slower, then anew
        return part**1.5
    if shape == 1:  # two alternating parts, such as assembling and solving
        return 1 / (1 + np.exp(-30 * (part - 0.62))) * np.clip((1 - part) * 20, 0, 1)
    return 0.5 - 0.5 * np.cos(2 * np.pi * part)
