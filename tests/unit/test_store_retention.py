"""What is forgotten: by age, under pressure, and what is spared."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from cc_metric_store import kernels
from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.checkpoint import Checkpointer
from cc_metric_store.engine import Engine, Limits
from cc_metric_store.protection import JobHosts
from cc_metric_store.retention import Retention, effective_cap
from clustercockpit.storage.directory import DirectoryObjectStore

NOW = 1_700_000_000 // 3600 * 3600
CATALOG = StaticCatalog({"*": {"m": MetricDefinition("m", 60, "sum")}})


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Hosts:
    def __init__(self, *names: str) -> None:
        self.names = names
        self.fails = False
        self.asked = 0

    def protected_hosts(self) -> frozenset[tuple[str, str]]:
        self.asked += 1
        if self.fails:
            raise ConnectionError("no answer")
        return frozenset(("c", name) for name in self.names)


def filled(clock: Clock, hours: int = 6, hosts: str = "ab") -> Engine:
    store = Engine(CATALOG, clock, Limits(retention=hours * 3600))
    for hour in range(hours):
        clock.now = NOW + 3600 * hour
        store.write(
            "\n".join(
                f"m,cluster=c,hostname={host},type=hwthread,type-id={t} value={t}.5 {int(clock.now) + 60 * m}"
                for host in hosts
                for t in range(20)
                for m in range(5)
            ).encode()
        )
    return store


def windows(store: Engine) -> dict[str, int]:
    return {host.name: len(block.windows()) for host, block in store.blocks()}


def test_whole_windows_go_by_their_end() -> None:
    clock = Clock()
    store = filled(clock)
    retention = Retention(store, 0, lambda: 0)
    clock.now = NOW + 6 * 3600 + 3600 - 1
    assert retention.by_age() == 0
    clock.now += 1
    assert retention.by_age() == 2
    assert windows(store) == {"a": 5, "b": 5}


def test_protected_hosts_are_spared_also_while_nobody_answers() -> None:
    clock = Clock()
    store = filled(clock)
    hosts = Hosts("a")
    retention = Retention(store, 0, lambda: 0, hosts)
    clock.now = NOW + 10 * 3600
    retention.by_age()
    assert windows(store) == {"a": 6, "b": 2}
    hosts.fails = True
    clock.now += 3600
    retention.by_age()
    assert windows(store) == {"a": 6, "b": 1}
    assert hosts.asked == 2
    hosts.fails, hosts.names = False, ()
    retention.by_age()
    assert windows(store)["a"] == 1


def test_pressure_frees_the_oldest_of_unprotected_hosts_first(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    store = filled(clock)
    clock.now = NOW + 7 * 3600
    store.seal_finished()
    store.seal_finished()
    retention = Retention(store, 1_000_000, lambda: 0, Hosts("a"))
    retention.refresh()
    _, block = next((h, b) for h, b in store.blocks() if h.name == "b")
    sizes = [len(block.sealed[window].content) for window in block.windows()]
    retention.used = lambda: 900_000 + sum(sizes[:3])
    assert retention.by_pressure() == 0  # not over the cap yet
    retention.used = lambda: 1_000_001
    assert sum(sizes) * 2 < 100_001  # more than there is: everything goes, protected hosts last
    with caplog.at_level(logging.WARNING):
        assert retention.by_pressure() == 12
    assert "freed 12 windows, oldest first, 6 of them of protected hosts" in caplog.text
    assert (retention.counters.freed_by_pressure, retention.counters.freed_protected) == (12, 6)


def test_pressure_stops_when_it_is_relieved() -> None:
    clock = Clock()
    store = filled(clock)
    clock.now = NOW + 7 * 3600
    store.seal_finished()
    store.seal_finished()
    retention = Retention(store, 1000, lambda: 0, Hosts("a"))
    retention.refresh()
    _, block = next((h, b) for h, b in store.blocks() if h.name == "b")
    three = sum(len(block.sealed[window].content) + 180 for window in block.windows()[:3])
    retention.cap = 10 * three  # nine tenths of which are the target
    retention.used = lambda: 10 * three + 1
    assert retention.by_pressure() in (3, 4)
    assert windows(store)["a"] == 6


def test_at_the_cap_new_series_are_refused_and_known_ones_written(tmp_path_factory: Any) -> None:
    clock = Clock()
    module = kernels.load(str(Path(tmp_path_factory.getbasetemp()).parent / "cc-numba-cache"))
    for compiled in (False, True):
        store = filled(clock, 1)
        if compiled:
            kernels.Kernel(store, module).attach()
        retention = Retention(store, 1000, lambda: 10**12)
        retention.by_pressure()
        assert retention.counters.over_cap
        known = f"m,cluster=c,hostname=a,type=hwthread,type-id=1 value=1 {NOW}"
        new = f"m,cluster=c,hostname=a,type=hwthread,type-id=77 value=1 {NOW}"
        report = store.write(f"{known}\n{new}\n{known}\n{new}".encode())
        assert report.accepted == 2
        assert dict(report.rejected) == {"memory": 2}
        retention.used = lambda: 0
        retention.by_pressure()
        assert store.write(new.encode()).accepted == 1


def test_a_cap_of_zero_means_what_the_process_may_use() -> None:
    assert effective_cap(1000) == 1000
    assert effective_cap(0) == effective_cap(10**18) > 0


def test_protected_samples_survive_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    store = filled(clock)
    first = Checkpointer(store, DirectoryObjectStore(tmp_path))
    first.take_over()
    first.write(dict)
    clock.now = NOW + 9 * 3600
    again = Engine(CATALOG, clock, store.limits)
    second = Checkpointer(again, DirectoryObjectStore(tmp_path))
    second.take_over()
    second.restore(protected=frozenset({("c", "a")}))
    assert windows(again) == {"a": 6, "b": 3}


def test_which_jobs_protect_their_hosts() -> None:
    class Resource:
        def __init__(self, hostname: str) -> None:
            self.hostname = hostname

    class Job:
        def __init__(self, cluster: str, *hosts: str) -> None:
            self.cluster, self.resources = cluster, [Resource(h) for h in hosts]

    class Jobs:
        def running(self, cluster: str) -> list[Job]:
            return [Job(cluster, "r1", "r2")]

        def archiving_pending(self) -> list[Job]:
            return [Job("x", "p")]

        def archiving_failed(self, cluster: str) -> list[Job]:
            return [Job(cluster, "f")]

    found = JobHosts(Jobs(), lambda: ["x", "y"]).protected_hosts()  # type: ignore[arg-type]
    assert found == {(c, h) for c in "xy" for h in ("r1", "r2", "f")} | {("x", "p")}
