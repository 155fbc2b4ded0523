"""Lines into blocks: addressing, values, times, errors; `spec/metric-store.md` 23.2 as we decided it."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.engine import Engine, Limits
from cc_metric_store.reading import Reader
from cc_metric_store.series import own_phase
from clustercockpit.clusters.model import MetricScope

NOW = 1_700_000_000
DEFINITIONS = {
    "m_none": MetricDefinition("m_none", 60),
    "m_sum": MetricDefinition("m_sum", 10, "sum", MetricScope.HWTHREAD),
    "m_avg": MetricDefinition("m_avg", 10, "avg", MetricScope.HWTHREAD),
}


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def engine(clock: Clock | None = None, **limits: int) -> Engine:
    return Engine(StaticCatalog({"*": DEFINITIONS}), clock or Clock(), Limits(**limits))


def values(
    store: Engine, metric: str, host: str = "h", cluster: str = "c", component: str | None = None
) -> list[float]:
    reader = Reader(store)
    selection = reader.select(cluster, host, DEFINITIONS[metric], None if component is None else [component])
    assert selection is not None
    reading = reader.read(selection, 0, 1 << 40, DEFINITIONS[metric].aggregation)
    assert reading is not None
    return [round(v, 6) for v in reading.values.tolist()]


@pytest.mark.parametrize(
    ("line", "cluster", "host", "component", "subcomponent"),
    [
        ("m_sum,cluster=c,hostname=h,type=node value=1", "c", "h", "", ""),
        ("m_sum,cluster=c,host=h,type=hwthread,type-id=12 value=1i", "c", "h", "hwthread12", ""),
        ("m_sum,cluster=c,hostname=h,type-id=12,type=hwthread value=1u", "c", "h", "hwthread12", ""),
        ("m_sum,hostname=h,type=socket,type-id=0 value=-1.5e3", "dc", "h", "socket0", ""),
        (
            "m_sum,cluster=c,hostname=h,stype=nvlink,stype-id=3,type=accelerator,"
            "type-id=00000000:49:00.0,unit=x value=.5",
            "c", "h", "accelerator00000000:49:00.0", "nvlink3",
        ),
        ("m_sum,cluster=c,hostname=h,stype=disk,stype-id=sda,type=node value=1", "c", "h", "", "disksda"),
        ("m_sum,cluster=c,hostname=h,type=node,type-id=0 value=1", "c", "h", "", ""),
        (
            "m_sum,cluster=c,hostname=h,type=node,stype=filesystem,stype-id=/home\\ a value=1",
            "c", "h", "", "filesystem/home a",
        ),
    ],
)  # fmt: skip
def test_tags_name_the_series(line: str, cluster: str, host: str, component: str, subcomponent: str) -> None:
    store = engine()
    assert store.write(f"{line} {NOW}".encode(), "dc").accepted == 1
    found = store.names.components[store.series.component[0]]
    assert (store.hosts[0].cluster, store.hosts[0].name) == (cluster, host)
    assert (found.name, found.subname) == (component, subcomponent)


GOOD = f"m_sum,cluster=c,hostname=g%d value=1 {NOW}"


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        ("unknown,cluster=c,hostname=h value=1 1", ""),
        ("zzz,,= garbage", ""),
        ("m_sum,cluster=..,hostname=h value=1 1", "name"),
        ("m_sum,cluster=c,hostname=h/x value=1 1", "name"),
        ("m_sum,cluster=c,hostname=. value=1 1", "name"),
        ("m_sum,cluster=c,hostname=h foo=1 1", "field"),
        ('m_sum,cluster=c,hostname=h value="x y" 1', "value"),
        ("m_sum,cluster=c,hostname=h value=t 1", "value"),
        ("m_sum,cluster=c,hostname=h value=NaN 1", "value"),
        ("m_sum,cluster=c,hostname=h value=1e400 1", "value"),
        ("m_sum,cluster=c,hostname=h value=+1 1", "value"),
        ("m_sum,cluster=c,hostname=h value=1_0 1", "value"),
        ("m_sum,cluster=c,hostname=h value=99999999999999999999i 1", "value"),
        ("m_sum,cluster=c,hostname=h value=1 17abc", "time"),
        (f"m_sum,cluster=c,hostname=h value=1 {NOW + 100_000}", "future"),
        ("m_sum,cluster=c,hostname=h value=1 9000000000", "future"),
        ("m_sum,cluster=c,hostname=h value=1 -5", "past"),
        ("m_sum,cluster=c value=1 1", "no host"),
        ("m_sum,hostname=h value=1 1", "no cluster"),
        ("m_sum,cluster=c,hostname= value=1 1", "syntax"),
        ("m_sum,cluster=c,hostname=h\x01 value=1 1", "syntax"),
        ("m_sum,cluster=c,hostname=h", "no field"),
    ],
)  # fmt: skip
def test_a_bad_line_costs_only_itself(middle: str, reason: str) -> None:
    store = engine()
    report = store.write("\n".join([GOOD % 1, middle, GOOD % 2, ""]).encode())
    assert report.accepted == 2
    assert dict(report.rejected) == ({reason: 1} if reason else {})
    assert report.unknown == (0 if reason else 1)
    if reason:
        assert report.reasons[0].startswith("line 2: ")


def test_comments_empty_lines_and_crlf_are_no_lines() -> None:
    report = engine().write(f"# note\n\n  m_sum,cluster=c,hostname=h value=1 {NOW}\r\n".encode())
    assert (report.accepted, report.rejections, report.unknown) == (1, 0, 0)


def test_hosts_are_not_carried_over_between_lines() -> None:
    store = engine()
    report = store.write(f"m_sum,cluster=c,hostname=a value=1 {NOW}\nm_sum,cluster=c value=2 {NOW}".encode())
    assert report.accepted == 1
    assert dict(report.rejected) == {"no host": 1}


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_the_unit_of_a_time_follows_from_its_magnitude(factor: int) -> None:
    store = engine()
    store.write(f"m_none,cluster=c,hostname=h value=1 {NOW * factor}".encode())
    assert int(store.series.last_slot[0]) * 60 + int(store.series.phase[0]) == NOW


def test_without_a_time_the_arrival_counts() -> None:
    store = engine()
    store.write(b"m_none,cluster=c,hostname=h value=1")
    assert int(store.series.last_slot[0]) * 60 + int(store.series.phase[0]) == NOW


def lines(samples: list[tuple[int, float]], metric: str = "m_none") -> bytes:
    return "\n".join(f"{metric},cluster=c,hostname=h value={v} {t}" for t, v in samples).encode()


def test_one_value_per_slot_and_the_last_arrival_wins() -> None:
    store = engine(Clock(1200))
    store.write(lines([(1000, 1), (1061, 2), (1119, 3), (1181, 4), (1029, 9)]))
    assert values(store, "m_none") == [9, 2, 3, 4]


def test_a_gap_is_a_gap() -> None:
    store = engine(Clock(1200))
    store.write(lines([(1000, 1), (1180, 4)]))
    assert np.array_equal(values(store, "m_none"), [1, math.nan, math.nan, 4], equal_nan=True)


def test_a_sample_older_than_all_before_is_placed() -> None:
    store = engine(Clock(1200))
    store.write(lines([(1060, 2), (1000, 1)]))
    assert values(store, "m_none") == [1, 2]


def test_a_late_sample_reaches_a_sealed_window_and_wins() -> None:
    clock = Clock(NOW)
    store = engine(clock)
    store.write(lines([(NOW + i * 60, i) for i in range(4)]))
    clock.now = NOW + 40_000
    store.seal_finished()
    assert store.seal_finished() >= 1
    assert not any(block.open for block in store.store.blocks)
    report = store.write(lines([(NOW + 60, 77), (NOW + 240, 4)]))
    assert report.accepted == report.patched == 2
    assert values(store, "m_none") == [0, 77, 2, 3, 4]
    store.seal_finished()
    assert not any(block.patches for block in store.store.blocks)
    assert values(store, "m_none") == [0, 77, 2, 3, 4]


def test_jittered_phases_lose_and_overwrite_nothing() -> None:
    """A thousand collectors, own phases, up to a second of jitter: every sample has a slot."""
    chance = random.Random(15)
    clock = Clock(NOW + 60 * 40)
    store = engine(clock)
    batch = []
    for host in range(1000):
        phase = chance.random() * 60
        for step in range(30):
            moment = NOW + phase + 60 * step + chance.uniform(-1, 1)
            batch.append(f"m_none,cluster=c,hostname=h{host} value={step} {int(moment)}")
    assert store.write("\n".join(batch).encode()).accepted == 30_000
    for host in range(1000):
        assert values(store, "m_none", host=f"h{host}") == list(range(30))


def test_a_restarted_collector_moves_the_phase_and_loses_nothing() -> None:
    chance = random.Random(16)
    for restart in range(200):
        clock = Clock(NOW + 6000)
        store = engine(clock)
        first, then = NOW + chance.randrange(60), chance.randrange(61, 140)
        times = [first + 60 * i for i in range(5)]
        times += [times[-1] + then + 60 * i for i in range(5)]
        store.write(lines([(t, i) for i, t in enumerate(times)]))
        held = [v for v in values(store, "m_none") if not math.isnan(v)]
        assert held == list(range(10)), restart


def test_phases_lie_within_half_a_step() -> None:
    assert [own_phase(t, 60) for t in (0, 29, 30, 59, 60, -1)] == [0, 29, -30, -1, 0, -1]


def test_a_host_has_a_limit_of_series() -> None:
    store = engine(rows_per_host=3)
    report = store.write(
        "\n".join(
            f"m_sum,cluster=c,hostname=h,type=hwthread,type-id={i} value=1 {NOW}" for i in range(5)
        ).encode()
    )
    assert report.accepted == 3
    assert dict(report.rejected) == {"limit": 2}


def test_clusters_may_differ_in_the_time_step_of_a_metric() -> None:
    fast, slow = MetricDefinition("m", 10, "sum"), MetricDefinition("m", 60, "sum")
    store = Engine(StaticCatalog({"a": {"m": fast}, "b": {"m": slow}}), Clock())
    report = store.write(f"m,cluster=a,hostname=h value=1 {NOW}\nm,cluster=b,hostname=h value=1 {NOW}\n"
                         f"m,cluster=z,hostname=h value=1 {NOW}".encode())  # fmt: skip
    assert (report.accepted, report.unknown) == (2, 1)
    assert [block.timestep for block in store.store.blocks] == [10, 60]
