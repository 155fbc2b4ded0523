"""Checkpoints: what was written comes back, damage costs only itself, one owner."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest

from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.checkpoint import Checkpointer
from cc_metric_store.durability import OwnershipLostError
from cc_metric_store.engine import Engine
from cc_metric_store.reading import Reader
from clustercockpit.errors import UnavailableError
from clustercockpit.storage.directory import DirectoryObjectStore

NOW = 1_700_000_000
DEFINITION = MetricDefinition("m", 60, "sum")
CATALOG = StaticCatalog({"*": {"m": DEFINITION}})


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


def write(store: Engine, host: str, start: int, count: int, first: float = 0.0) -> None:
    batch = "\n".join(
        f"m,cluster=c,hostname={host},type=hwthread,type-id={t} value={first + i + t / 10} {start + 60 * i}"
        for i in range(count)
        for t in range(3)
    )
    assert store.write(batch.encode()).accepted == 3 * count


def read(store: Engine, host: str, thread: int = 1) -> tuple[int, list[float]]:
    reader = Reader(store)
    selection = reader.select("c", host, DEFINITION, [f"hwthread{thread}"])
    assert selection is not None
    reading = reader.read(selection, 0, 1 << 40, "sum")
    assert reading is not None
    return reading.start, reading.values.tolist()


def restored(root: Path, clock: Clock) -> tuple[Engine, Checkpointer]:
    store = Engine(CATALOG, clock)
    checkpointer = Checkpointer(store, DirectoryObjectStore(root))
    checkpointer.take_over()
    checkpointer.restore()
    return store, checkpointer


def test_everything_comes_back_with_its_times(tmp_path: Path) -> None:
    clock = Clock()
    store, checkpointer = restored(tmp_path, clock)
    write(store, "a", NOW - 9001, 140)
    write(store, "b", NOW - 1003, 10)
    clock.now += 600
    store.seal_finished()
    store.seal_finished()
    checkpointer.write(lambda: {"source": 17})
    again, second = restored(tmp_path, clock)
    assert second.manifest.positions == {"source": 17}
    assert second.manifest.epoch == 2
    for host in ("a", "b"):
        assert read(again, host) == read(store, host)
    # a further sample continues the same series
    write(again, "b", NOW - 1003 + 600, 1, 10)
    assert read(again, "b")[1] == [i + 0.1 for i in range(11)]


def test_only_changed_windows_are_written_again(tmp_path: Path) -> None:
    clock = Clock()
    store, checkpointer = restored(tmp_path, clock)
    write(store, "a", NOW - 9000, 149)
    assert checkpointer.write(dict) >= 3
    write(store, "a", NOW - 60, 1, 149)
    assert checkpointer.write(dict) == 1
    assert checkpointer.write(dict) == 0
    again, _ = restored(tmp_path, clock)
    assert read(again, "a")[1] == [i + 0.1 for i in range(150)]


def test_new_rows_after_a_window_was_sealed(tmp_path: Path) -> None:
    clock = Clock()
    store, checkpointer = restored(tmp_path, clock)
    write(store, "a", NOW - 9000, 150)
    store.write(f"m,cluster=c,hostname=a value=5 {NOW}".encode())
    checkpointer.write(dict)
    again, _ = restored(tmp_path, clock)
    assert read(again, "a", 2)[1] == [i + 0.2 for i in range(150)]
    assert again.series.count == store.series.count == 4


def test_a_late_sample_is_in_the_next_checkpoint(tmp_path: Path) -> None:
    clock = Clock()
    store, checkpointer = restored(tmp_path, clock)
    write(store, "a", NOW - 36_000, 10)
    clock.now += 10
    store.seal_finished()
    store.seal_finished()
    checkpointer.write(dict)
    write(store, "a", NOW - 36_000 + 600, 1, 99)
    checkpointer.write(dict)
    again, _ = restored(tmp_path, clock)
    assert read(again, "a")[1] == [*(i + 0.1 for i in range(10)), 99.1]


def test_damage_costs_only_itself(tmp_path: Path) -> None:
    clock = Clock()
    store, checkpointer = restored(tmp_path, clock)
    write(store, "a", NOW - 9000, 150)
    checkpointer.write(dict)
    files = sorted(tmp_path.rglob("*.ccb"))
    assert len(files) >= 3
    files[0].write_bytes(b"CCB1 not what it was")
    files[1].unlink()
    again = Engine(CATALOG, clock)
    second = Checkpointer(again, DirectoryObjectStore(tmp_path))
    second.take_over()
    report = second.restore()
    assert len(report.damaged) >= 2
    start, values = read(again, "a")
    assert values[-1] == 149.1
    assert all(
        math.isnan(v) or v == round((start - NOW + 9000) / 60 + i + 0.1, 6) for i, v in enumerate(values)
    )


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_manifest_is_made_anew_from_the_objects(tmp_path: Path, how: str) -> None:
    clock = Clock()
    kept: dict[Path, bytes] = {}
    for number in range(11):  # the eleventh epoch sorts behind the second as text, but not as a number
        store, checkpointer = restored(tmp_path, clock)
        write(store, "a", NOW - 900, 10, first=float(number))
        if number == 1:
            kept = {path: path.read_bytes() for path in tmp_path.rglob("*.ccb")}
        checkpointer.write(dict)
    for path, content in kept.items():  # left over by a crash
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    manifest = tmp_path / checkpointer.manifest_key
    if how == "gone":
        manifest.unlink()
    else:
        manifest.write_bytes(b'{"format": 1}')
    again, other = restored(tmp_path, clock)
    assert read(again, "a")[1] == [10.1 + i for i in range(10)]
    assert other.manifest.epoch == 12
    assert bool(list(tmp_path.rglob("damaged-manifest-*"))) == (how == "damaged")


def test_the_first_of_two_owners_ends(tmp_path: Path) -> None:
    clock = Clock()
    store, first = restored(tmp_path, clock)
    write(store, "a", NOW - 900, 10)
    _, second = restored(tmp_path, clock)
    with pytest.raises(OwnershipLostError):
        first.write(dict)
    second.write(dict)


def test_a_failed_checkpoint_changes_nothing_and_is_caught_up(tmp_path: Path) -> None:
    clock = Clock()

    class Failing(DirectoryObjectStore):
        fail = False

        def put(self, key: str, content: bytes, **conditions: object) -> str:
            if self.fail and key.endswith(".ccb"):
                raise OSError("no space left")
            return super().put(key, content, **conditions)  # type: ignore[arg-type]

    objects = Failing(tmp_path)
    store = Engine(CATALOG, clock)
    checkpointer = Checkpointer(store, objects)
    checkpointer.take_over()
    write(store, "a", NOW - 900, 10)
    objects.fail = True
    with pytest.raises(OSError, match="no space"):
        checkpointer.write(dict)
    objects.fail = False
    assert checkpointer.write(dict) >= 1
    again, _ = restored(tmp_path, clock)
    assert read(again, "a")[1] == [i + 0.1 for i in range(10)]


def test_two_checkpoints_at_once_do_not_delete_each_others_objects(tmp_path: Path) -> None:
    clock = Clock()
    store, checkpointer = restored(tmp_path, clock)
    began, go_on = threading.Event(), threading.Event()

    class Slow(DirectoryObjectStore):
        def put(self, key: str, content: bytes, **conditions: Any) -> str:
            if key.endswith(".ccb") and not began.is_set():
                began.set()
                assert go_on.wait(10)
            return super().put(key, content, **conditions)

    checkpointer.objects = Slow(tmp_path)
    write(store, "a", NOW - 600, 10)
    first = threading.Thread(target=checkpointer.write, args=(dict,))
    first.start()
    assert began.wait(10)
    write(store, "a", NOW - 600, 10, first=50.0)
    second = threading.Thread(target=checkpointer.write, args=(dict,))
    second.start()
    second.join(0.1)
    go_on.set()
    first.join(10)
    second.join(10)
    again, _ = restored(tmp_path, clock)
    assert read(again, "a")[1] == [50.1 + i for i in range(10)]


def test_a_manifest_whose_put_gave_no_answer_is_known_again(tmp_path: Path) -> None:
    clock = Clock()
    store, checkpointer = restored(tmp_path, clock)

    class Mute(DirectoryObjectStore):
        def put(self, key: str, content: bytes, **conditions: Any) -> str:
            etag = super().put(key, content, **conditions)
            if key.endswith("manifest.json"):
                raise UnavailableError("no answer")
            return etag

    write(store, "a", NOW - 600, 10)
    checkpointer.objects = Mute(tmp_path)
    with pytest.raises(UnavailableError):
        checkpointer.write(dict)
    write(store, "a", NOW - 600, 1, first=7.0)
    checkpointer.objects = DirectoryObjectStore(tmp_path)
    checkpointer.write(dict)
    again, other = restored(tmp_path, clock)
    assert read(again, "a")[1][:2] == [7.1, 1.1]
    with pytest.raises(OwnershipLostError):
        checkpointer.write(dict)
    # What the checkpoint without answer left is deleted by whoever comes after
    other.find_orphans()
    other.write(dict)
    named = {entry.key for entry in other.manifest.objects}
    assert {f"checkpoints/0/{p.parent.name}/{p.name}" for p in tmp_path.rglob("*.ccb")} == named
