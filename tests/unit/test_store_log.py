"""The write log: what is acknowledged comes back, in order; damage and other owners cost only themselves."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_metric_store import segments
from cc_metric_store.durability import LoggedWrite, OwnershipLostError
from cc_metric_store.segment_log import SegmentLog
from cc_metric_store.segments import DirectorySegments, Header, ObjectSegments, encode_record, read_records
from clustercockpit.errors import UnavailableError
from clustercockpit.storage.directory import DirectoryObjectStore

KINDS = ["directory", "objects"]


def write(text: str, cluster: str = "c") -> LoggedWrite:
    return LoggedWrite(text.encode(), cluster, 1_700_000_000)


def log_in(kind: str, root: Path, **options: Any) -> SegmentLog:
    if kind == "directory":
        return SegmentLog(DirectorySegments(root / "log", wait=0.3), **options)
    return SegmentLog(ObjectSegments(DirectoryObjectStore(root), "log"), **options)


def opened(log: SegmentLog, position: int | None = None, epoch: int = 1) -> SegmentLog:
    log.acquire(lambda: False)
    log.open(epoch, position)
    return log


def append(log: SegmentLog, *texts: str) -> None:
    for text in texts:
        number = log.append(write(text))
    asyncio.run(log.durable(number))


def replayed(log: SegmentLog, position: int | None = None) -> list[str]:
    return [entry.payload.decode() for entry in log.replay(position)]


@pytest.mark.parametrize("kind", KINDS)
def test_acknowledged_entries_come_back_in_order_after_the_position(kind: str, tmp_path: Path) -> None:
    log = opened(log_in(kind, tmp_path))
    append(log, "one", "two" * 400)
    assert log.position() == 2
    append(log, "three")
    log.close()
    log = opened(log_in(kind, tmp_path), 1, epoch=2)
    assert replayed(log, 1) == ["two" * 400, "three"]
    assert log.position() == 3
    append(log, "four")
    log.close()
    log = opened(log_in(kind, tmp_path), None, epoch=3)
    assert replayed(log) == ["one", "two" * 400, "three", "four"]
    assert (log.counters.missing, log.counters.damaged) == (0, 0)
    log.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_lets_segments_go_but_not_the_count(kind: str, tmp_path: Path) -> None:
    log = opened(log_in(kind, tmp_path))
    for text in "abc":
        append(log, text)
        log.forget(log.position())
    append(log, "d")
    log.close()
    log = opened(log_in(kind, tmp_path), 3, epoch=2)
    assert replayed(log, 3) == ["d"]
    log.forget(4)
    log.close()
    log = opened(log_in(kind, tmp_path), 4, epoch=3)
    assert (replayed(log, 4), log.position()) == ([], 4)
    assert len([p for p in (tmp_path / "log").iterdir() if p.suffix == ".ccl"]) <= 3
    log.close()


def test_a_torn_tail_is_left_out_and_later_segments_count(tmp_path: Path) -> None:
    log = opened(log_in("directory", tmp_path))
    append(log, "one", "two")
    log.close()
    (name,) = (tmp_path / "log").glob("*.ccl")
    name.write_bytes(name.read_bytes()[:-2])
    log = opened(log_in("directory", tmp_path), None, epoch=2)
    assert replayed(log) == ["one"]
    append(log, "three")
    log.close()
    log = opened(log_in("directory", tmp_path), None, epoch=3)
    assert replayed(log) == ["one", "three"]
    assert log.counters.damaged == 1
    log.close()


def test_damage_in_the_middle_costs_its_entry_only(tmp_path: Path) -> None:
    log = opened(log_in("directory", tmp_path))
    append(log, "one", "two", "three")
    log.close()
    (name,) = (tmp_path / "log").glob("*.ccl")
    name.write_bytes(name.read_bytes().replace(b"two", b"tzo"))
    log = opened(log_in("directory", tmp_path), None, epoch=2)
    assert replayed(log) == ["one", "three"]
    assert (log.counters.damaged, log.counters.missing) == (1, 1)
    log.close()


def test_a_second_process_of_the_machine_is_kept_out(tmp_path: Path) -> None:
    log = opened(log_in("directory", tmp_path))
    with pytest.raises(OwnershipLostError):
        opened(log_in("directory", tmp_path))
    log.close()
    opened(log_in("directory", tmp_path)).close()


def test_the_earlier_owner_of_a_bucket_is_fenced_off(tmp_path: Path) -> None:
    first = opened(log_in("objects", tmp_path), epoch=1)
    append(first, "one")
    second = opened(log_in("objects", tmp_path), epoch=2)
    lost: list[bool] = []
    first.on_lost = lambda: lost.append(True)
    with pytest.raises(UnavailableError):
        append(first, "two")
    assert lost
    append(second, "three")
    assert replayed(second) == ["one"]
    first.close()
    second.close()
    third = opened(log_in("objects", tmp_path), epoch=3)
    assert replayed(third) == ["one", "three"]
    third.close()


class Failing(DirectoryObjectStore):
    """Puts fail as told: before or after they took effect."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.plan: list[str] = []

    def put(self, key: str, content: bytes, **conditions: Any) -> str:
        step = self.plan.pop(0) if self.plan else ""
        if step == "before":
            raise UnavailableError("slow down")
        etag = super().put(key, content, **conditions)
        if step == "after":
            raise UnavailableError("no answer")
        return etag


def test_commits_without_answer_are_repeated_without_losing_or_doubling(tmp_path: Path) -> None:
    store = Failing(tmp_path)
    log = opened(SegmentLog(ObjectSegments(store, "log")))
    for number in range(6):
        store.plan = [["before"], ["after"], ["after", "before", "after"]][number % 3]
        append(log, f"write {number}")
    assert log.counters.failures == 8
    log.close()
    again = opened(SegmentLog(ObjectSegments(store, "log")), None, epoch=2)
    assert replayed(again) == [f"write {number}" for number in range(6)]
    again.close()


def test_nothing_is_taken_or_acknowledged_while_the_log_cannot_be_written(tmp_path: Path) -> None:
    store = Failing(tmp_path)
    log = opened(SegmentLog(ObjectSegments(store, "log"), most_waiting=1000, acknowledge_within=0.2))
    store.plan = ["before"] * 10_000
    number = log.append(write("x" * 900))
    with pytest.raises(UnavailableError):
        asyncio.run(log.durable(number))
    with pytest.raises(UnavailableError):
        log.admit(200)
    store.plan = []
    log.acknowledge_within = 10
    asyncio.run(log.durable(number))
    log.admit(200)
    assert (log.counters.refused, log.counters.late, log.waiting_bytes) == (1, 1, 0)
    log.close()


def test_a_full_disk_delays_the_acknowledgement_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(log_in("directory", tmp_path))
    append(log, "one")
    real: Callable[..., int] = os.write
    left = [3]

    def full(handle: int, content: Any) -> int:
        if left[0]:
            left[0] -= 1
            real(handle, bytes(content)[:5])
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(handle, content)

    monkeypatch.setattr(segments.os, "write", full)
    append(log, "two")
    append(log, "three")
    log.close()
    monkeypatch.undo()
    log = opened(log_in("directory", tmp_path), None, epoch=2)
    assert replayed(log) == ["one", "two", "three"]
    assert log.counters.missing == 0
    log.close()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=900), st.text(max_size=8), st.integers(0, 2**40)), max_size=5),
    st.data(),
)
def test_any_damage_is_survived_and_never_invents_an_entry(
    entries: list[tuple[bytes, str, int]], data: st.DataObject
) -> None:
    packer = zstandard.ZstdCompressor(level=1)
    writes = [(i + 1, LoggedWrite(p, c, a)) for i, (p, c, a) in enumerate(entries)]
    content = bytearray(Header(1, 2, 1).encode() + b"".join(encode_record(n, w, packer) for n, w in writes))
    assert list(read_records(bytes(content))) == writes
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(content)))
    for record in read_records(bytes(content[:cut])):
        assert record is None or record in writes
