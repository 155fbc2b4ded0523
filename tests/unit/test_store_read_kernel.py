"""Compiled reading against the plain one."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_metric_store import codec, health, kernels, reading, resampling
from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.codec import DamagedBlockError, Layout
from cc_metric_store.engine import Engine


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = Path(tmp_path_factory.getbasetemp()).parent / "cc-numba-cache"
    kernels.load(str(folder))
    from cc_metric_store import read_kernel

    return read_kernel


def unframe(compiled: Any, raw: bytes, rows: int, slots: int) -> np.ndarray:
    matrix = np.empty((rows, slots))
    address = np.frombuffer(raw, np.uint8).ctypes.data
    if not compiled.unframe(address, len(raw) - 8, rows, slots, matrix):
        raise DamagedBlockError
    return matrix


VALUES = st.one_of(
    st.integers(-300, 300).map(float),
    st.integers(-(2**50), 2**50).map(float),
    st.integers(-(10**6), 10**6).map(lambda i: i / 100),
    st.floats(allow_infinity=False),
    st.just(float("nan")),
)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    rows, slots = draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 8, 20]))
    kinds = [draw(st.sampled_from([VALUES, *VALUES.original_strategies])) for _ in range(rows)]  # type: ignore[attr-defined]
    return np.array([draw(st.lists(kind, min_size=slots, max_size=slots)) for kind in kinds], float)


@settings(max_examples=100, deadline=None)
@given(matrix=matrices(), exact=st.booleans())
def test_frames_unpack_alike(compiled: Any, matrix: np.ndarray, exact: bool) -> None:
    raw = b"".join(codec._frame(matrix, np.full(len(matrix), exact)))
    plain = codec._unframe(raw, *matrix.shape)
    assert np.array_equal(unframe(compiled, raw, *matrix.shape), plain, equal_nan=True)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), bits=st.integers(1, 255), cut=st.integers(0, 40))
def test_damaged_frames_end_in_an_error_or_in_numbers(
    compiled: Any, position: int, bits: int, cut: int
) -> None:
    chance = np.random.default_rng(5)
    matrix = np.concatenate([chance.normal(5, 1, (5, 20)), chance.integers(0, 99, (5, 20)) / 10])
    matrix[2, 3] = np.nan
    raw = bytearray(b"".join(codec._frame(matrix, None)))
    raw[position % len(raw)] ^= bits
    with contextlib.suppress(DamagedBlockError):
        unframe(compiled, bytes(raw[: len(raw) - cut]) + bytes(8), *matrix.shape)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=9, max_size=80),
       step=st.integers(2, 3))  # fmt: skip
def test_triangles_pick_alike(compiled: Any, values: list[float], step: int) -> None:
    series = np.array(values)
    count = len(series) // step
    picked = np.empty(count, np.int64)
    compiled.triangles(series, count, picked)
    assert picked.tolist() == resampling.lttb_indices(series, count)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_sums_are_alike(compiled: Any, seed: int) -> None:
    chance = np.random.default_rng(seed)
    matrix = np.where(chance.random((6, 10)) < 0.3, np.nan, chance.integers(0, 100, (6, 10)))
    places = chance.integers(-1, 6, 4)
    low = int(chance.integers(0, 9))
    high = int(chance.integers(low + 1, 11))
    results = []
    for work in (compiled.accumulate, reading._accumulate_plain):
        into = (np.zeros(20), np.zeros(20, np.int32), np.zeros(4, np.bool_))
        work(matrix, places, low, high, 5, *into)
        results.append([part.tolist() for part in into])
    assert results[0] == results[1]


def test_health_is_counted_alike(compiled: Any) -> None:
    from cc_metric_store import health_kernel

    chance = random.Random(9)
    now = 1_000_000
    catalog = StaticCatalog({"*": {n: MetricDefinition(n, s) for n, s in (("a", 10), ("b", 60), ("d", 60))}})
    store = Engine(catalog, lambda: now)
    lines = [
        f"{chance.choice('abd')},cluster=c,hostname=h{chance.randrange(30)},type=hwthread,"
        f"type-id={chance.randrange(9)} value=1 {now - chance.choice([0, 40, 60, 100, 400, 5000, 90_000])}"
        for _ in range(2000)
    ]
    store.write("\n".join(lines).encode())
    hosts = [f"h{i}" for i in range(32)]
    results = []
    for accelerated in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(health, "_count", health.count_plain)
            if accelerated:
                health.accelerate(health_kernel.count)
            results.append(health.check(store, "c", hosts, ["a", "b", "x", "a"]))
    assert results[0] == results[1]
    assert {node.state for node in results[0].values()} == {"partial", "failed"}


def test_the_compiled_reader_answers_as_the_plain_one(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the doors the process uses."""
    chance = np.random.default_rng(3)
    matrix = np.round(chance.normal(50, 9, (40, 60)), 2)
    matrix[3, 5:9] = np.nan
    layout = Layout.of(np.array([i % 2 for i in range(40)], np.int32))
    content = codec.encode(matrix, layout)
    series = chance.normal(0, 1, 500)
    plain = codec.decode(content, layout), resampling.lttb(series, 77)
    monkeypatch.setattr(codec, "_compiled", None)
    monkeypatch.setattr(resampling, "_compiled", None)
    monkeypatch.setattr(reading, "_accumulate", reading._accumulate)
    monkeypatch.setattr(health, "_count", health._count)
    kernels.accelerate_reading()
    assert codec._compiled is not None
    assert np.array_equal(codec.decode(content, layout), plain[0], equal_nan=True)
    assert resampling.lttb(series, 77).tolist() == plain[1].tolist()
