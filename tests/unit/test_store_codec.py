"""Sealed windows: what comes back is what the precision rule promises, and nothing else breaks."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_metric_store import codec
from cc_metric_store.codec import DamagedBlockError, Layout

SEVEN_DIGITS = st.builds(
    lambda m, e: float(f"{m}e{e}"), st.integers(-9_999_999, 9_999_999), st.integers(-30, 25)
)
INTEGERS = st.integers(-(2**53), 2**53).map(float)
SHORT = st.integers(-(10**6), 10**6).map(lambda i: i / 100)
ANY = st.floats(allow_nan=True, allow_infinity=False)
FLOATS = st.floats(-1e30, 1e30)


def is_promised_exactly(value: float) -> bool:
    return float(f"{value:.6e}") == value or (value == int(value) and abs(value) < 1e7)


def check(given_rows: np.ndarray, back: np.ndarray) -> None:
    assert back.shape == given_rows.shape
    assert np.array_equal(np.isnan(back), np.isnan(given_rows))
    for before, after in zip(given_rows.ravel().tolist(), back.ravel().tolist(), strict=True):
        if before != before or before == after:
            continue
        assert not is_promised_exactly(before), (before, after)
        assert abs(after - before) <= abs(before) * 2**-24, (before, after)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows, slots = draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 7, 16]))
    table = []
    for _ in range(rows):
        kind = draw(
            st.sampled_from([SHORT, INTEGERS, SEVEN_DIGITS, ANY, FLOATS, st.one_of(SHORT, FLOATS, ANY)])
        )
        gaps = draw(st.sampled_from([0, 0, 3, slots]))
        row = draw(st.lists(kind, min_size=slots, max_size=slots))
        for _ in range(gaps):
            row[draw(st.integers(0, slots - 1))] = float("nan")
        table.append(row)
    names = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    return np.array(table, float), np.array(names, np.int32)


@settings(max_examples=70, deadline=None)
@given(drawn=matrices())
def test_what_comes_back_keeps_the_promise(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    matrix, names = drawn
    layout = Layout.of(names)
    content = codec.encode(matrix, layout)
    back = codec.decode(content, layout)
    check(matrix, back)
    # once rounded, it does not change any more: windows are encoded again when late samples come
    assert np.array_equal(codec.decode(codec.encode(back, layout), layout), back, equal_nan=True)
    chosen = np.array([len(matrix) - 1, 0, len(matrix) // 2])
    assert np.array_equal(codec.decode_rows(content, layout, chosen), back[chosen], equal_nan=True)
    exact = codec.encode(matrix, layout, np.ones(len(matrix), bool))
    assert np.array_equal(codec.decode(exact, layout), matrix, equal_nan=True)


def test_layouts_depend_on_the_order_of_rows_only() -> None:
    names = np.array([5, 7] + [9] * 8 + [5] + [3] * 9 + [9], np.int32)
    layout = Layout.of(names)
    assert [f.tolist() for f in layout.frames] == [[0, 1, 10], [*range(2, 10), 20], list(range(11, 20))]
    renamed = Layout.of(np.array([{5: 40, 7: 2, 9: 1, 3: 77}[n] for n in names.tolist()], np.int32))
    assert [f.tolist() for f in renamed.frames] == [f.tolist() for f in layout.frames]


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 10_000), bits=st.integers(1, 255), cut=st.booleans())
def test_damaged_bytes_end_in_an_error_or_in_numbers(position: int, bits: int, cut: bool) -> None:
    chance = np.random.default_rng(5)
    matrix = np.concatenate([chance.normal(5, 1, (9, 20)), chance.integers(0, 99, (9, 20)) / 10])
    layout = Layout.of(np.array([0] * 9 + [1] * 9, np.int32))
    content = bytearray(codec.encode(matrix, layout))
    position %= len(content)
    content[position] ^= bits
    damaged = bytes(content[:position]) if cut else bytes(content)
    with contextlib.suppress(DamagedBlockError):
        assert codec.decode(damaged, layout).shape == matrix.shape


@pytest.mark.parametrize(
    ("values", "most"),
    [("decimals", 1.35), ("counters", 1.45), ("floats", 2.9), ("constant", 0.05)],
)
def test_how_small_it_gets(values: str, most: float) -> None:
    """Bytes per sample of typical rows, so that a worse encoding is noticed."""
    chance = np.random.default_rng(7)
    level = chance.uniform(1, 100, (72, 1))
    rows = {
        "decimals": np.round(np.abs(level + chance.normal(0, 1, (72, 60))), 2),
        "counters": np.cumsum(chance.integers(0, 1000, (72, 60)), axis=1) * 1.0,
        "floats": np.abs(level + chance.normal(0, 1, (72, 60))),
        "constant": np.full((72, 60), 2400.0),
    }[values]
    size = len(codec.encode(rows, Layout.of(np.zeros(72, np.int32)))) / rows.size
    assert size <= most
