"""The compiled path against the plain one: the same bytes in, the same arrays and reports out."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_metric_store import kernels
from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.engine import Engine, Limits, WriteReport

NOW = 1_700_000_000
FAST = MetricDefinition("m", 10, "sum")
SLOW = MetricDefinition("m", 60, "sum")
CATALOG = StaticCatalog(
    {"a": {"m": FAST, "metric_with_a_long_name": SLOW}, "b": {"m": SLOW}, "*": {"only": FAST}},
)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # A fixed place, so that the next run finds the code compiled
    folder = Path(tmp_path_factory.getbasetemp()).parent / "cc-numba-cache"
    return kernels.load(str(folder))


def pair(module: Any, **limits: int) -> tuple[Engine, Engine]:
    plain, fast = (Engine(CATALOG, lambda: float(NOW), Limits(**limits)) for _ in range(2))
    kernels.Kernel(fast, module).attach()
    return plain, fast


def contents(store: Engine) -> dict[Any, Any]:
    """Everything that can be seen of an engine, keyed by names instead of numbers."""
    found: dict[Any, Any] = {}
    for host, block in store.blocks():
        for row in range(block.rows):
            series = int(block.series[row])
            component = store.names.components[store.series.component[series]]
            name = store.names.metrics[store.series.name[series]]
            key = (host.cluster, host.name, name, component.name, component.subname, block.timestep)
            assert key not in found
            table = store.series
            found[key] = (
                int(table.phase[series]),
                int(table.earlier_phase[series]),
                int(table.since[series]),
                int(table.last_slot[series]),
                {w: m[row].tobytes() for w, m in block.open.items() if not np.isnan(m[row]).all()},
                {w: sorted((c, v) for (r, c), v in p.items() if r == row) for w, p in block.patches.items()},
            )
    return found


def agree(plain: Engine, fast: Engine, payload: bytes, cluster: str = "") -> WriteReport:
    first, second = plain.write(payload, cluster), fast.write(payload, cluster)
    assert second == first
    assert contents(fast) == contents(plain)
    assert fast.unknown() == plain.unknown()
    return first


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-(2**66), 2**66).map(lambda i: f"{i}i"),
    st.integers(-5, 2**66).map(lambda i: f"{i}u"),
    st.from_regex(r"-?[0-9]{0,22}\.?[0-9]{0,22}([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(
        ["-0", "-0i", "-0u", ".", "-", "1.", ".5", "+1", "nan", "1e400", "1e-400", "0" * 390, "4.9e-324"]
    ),
)
TAGS = st.lists(
    st.sampled_from(
        [
            "cluster=a",
            "cluster=b",
            "cluster=z",
            "cluster=..",
            "hostname=h1",
            "host=h2",
            "hostname=h/2",
            "type=node",
            "type=hwthread",
            "type=socket",
            "type-id=0",
            "type-id=12",
            "stype=nvlink",
            "stype-id=3",
            "unit=Percent",
            "device=sda1",
            "a_rather_long_tag_key=x",
            "k=",
            "=v",
            "x",
            "a=b=c",
            "unit=\u00e9",
            "stype-id=a\\ b",
            "",
        ]
    ),
    max_size=6,
)
LINES = st.builds(
    lambda name, tags, lead, number, time, tail: ",".join([name, *tags]) + f"{lead}{number}{time}{tail}",
    st.sampled_from(
        ["m", "m", "metric_with_a_long_name", "only", "unknown", "unknown_and_long_name_17", "", "#", "m\\,"]
    ),
    st.one_of(TAGS, st.just(["cluster=a", "hostname=h1", "type=hwthread", "type-id=1"])),
    st.sampled_from([" value=", " value=", "  value=", " foo=", " ", "", " value=1,value="]),
    NUMBERS,
    st.one_of(
        st.integers(NOW - 3000, NOW + 400).map(lambda t: f" {t}"),
        st.integers(NOW - 300, NOW).map(lambda t: f" {t}000"),
        st.integers(NOW - 300, NOW).map(lambda t: f"  {t}999999999 "),
        st.sampled_from(["", " ", " -5", " 17abc", " 99999999999999999999", " 1 2", " 0"]),
    ),
    st.sampled_from(["\n", "\n", "\r\n", "\n\n", " \n", "\r\r\n"]),
)


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(st.lists(LINES, max_size=12).map("".join), min_size=1, max_size=3),
    cluster=st.sampled_from(["", "a", "b", "z"]),
)
def test_both_paths_agree_on_every_line(compiled: Any, batches: list[str], cluster: str) -> None:
    plain, fast = pair(compiled, rows_per_host=6)
    for batch in batches:
        agree(plain, fast, batch.encode(), cluster)
        agree(plain, fast, batch.encode(), "")


@settings(max_examples=100, deadline=None)
@given(payload=st.binary(max_size=300))
def test_both_paths_agree_on_any_bytes(compiled: Any, payload: bytes) -> None:
    plain, fast = pair(compiled)
    agree(plain, fast, payload, "a")
    agree(plain, fast, b"m,cluster=a,hostname=h value=1 " + payload)
    agree(plain, fast, b"m,cluster=a,hostname=h value=" + payload)


def test_every_decimal_is_read_to_the_last_bit(compiled: Any) -> None:
    chance = random.Random(3)
    plain, fast = pair(compiled)
    for _ in range(20):
        lines = []
        for host in range(200):
            value = struct.unpack("d", struct.pack("Q", chance.getrandbits(64)))[0]
            text = (
                repr(value)
                if chance.random() < 0.7
                else f"{chance.uniform(-1e6, 1e6):.{chance.randrange(20)}g}"
            )
            lines.append(f"m,cluster=a,hostname=h{host} value={text} {NOW}")
        agree(plain, fast, "\n".join(lines).encode())


def test_both_paths_move_phases_alike(compiled: Any) -> None:
    chance = random.Random(4)
    plain, fast = pair(compiled)
    time = NOW - 3000
    for _ in range(300):
        time += chance.choice([10, 10, 10, 11, 9, 13, 7, 25, 60, -10, -3])
        stamp = min(time, NOW)
        batch = f"m,cluster=a,hostname=h value=1 {stamp}\nm,cluster=b,hostname=h value=1 {stamp}"
        agree(plain, fast, batch.encode())


def test_they_take_turns(compiled: Any) -> None:
    """Series that the plain path made are known to the kernel, and the other way round."""
    line = "m,cluster=a,hostname=h{h},type=hwthread,type-id={t} value=1 {time}"
    plain, fast = pair(compiled)
    kernel, fast.kernel = fast.kernel, None
    first = "\n".join(line.format(h=h, t=t, time=NOW - 20) for h in range(3) for t in range(40)).encode()
    agree(plain, fast, first)
    fast.kernel = kernel
    second = "\n".join(line.format(h=h, t=t, time=NOW - 10) for h in range(4) for t in range(90)).encode()
    agree(plain, fast, second)
    fast.kernel = None
    agree(plain, fast, second.replace(b"value=1", b"value=2"))
    assert fast.series.count == 360
    assert kernel is not None
    assert kernel.by_plain_path == 93  # each host and each component once


def test_a_changed_catalog_is_followed(compiled: Any) -> None:
    plain, fast = pair(compiled)
    payload = f"m,cluster=a,hostname=h value=1 {NOW}\nnew,cluster=a,hostname=h value=1 {NOW}".encode()
    assert agree(plain, fast, payload).unknown == 1
    changed = StaticCatalog({"a": {"m": SLOW, "new": FAST}})
    for store in (plain, fast):
        store.replace_catalog(changed)
    report = agree(plain, fast, payload)
    assert (report.accepted, report.unknown) == (2, 0)
    assert len(fast.store.blocks) == 2


def test_unknown_names_are_counted_within_a_bound(compiled: Any) -> None:
    _, fast = pair(compiled, unknown_names=5)
    fast.write("\n".join(f"u{i % 9},x=y value=1" for i in range(900)).encode())
    counted = fast.unknown()
    assert sum(counted.values()) == 900
    assert len(counted) <= 7


def test_a_series_that_a_refused_line_made_is_not_made_twice(compiled: Any) -> None:
    plain, fast = pair(compiled)
    line = "m,cluster=a,hostname={},type=hwthread,type-id={} value={} {}\n"
    batch = [
        line.format("h1", 1, 1, NOW), line.format("h2", 2, 1, NOW), line.format("h1", 2, "bad", NOW),
        line.format("h2", 1, 1, NOW), line.format("h1", 2, 5, NOW),
    ]  # fmt: skip
    report = agree(plain, fast, "".join(batch).encode())
    assert (report.accepted, report.rejections, fast.series.count) == (4, 1, 4)
