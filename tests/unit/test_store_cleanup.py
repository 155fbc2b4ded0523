"""What leaves memory as Parquet."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from cc_metric_store import cleanup
from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.cleanup import ParquetArchive, scope_of
from cc_metric_store.engine import Engine, Limits
from cc_metric_store.retention import Retention
from cc_metric_store.series import Component
from clustercockpit.storage.directory import DirectoryObjectStore

NOW = 1_700_000_000 // 3600 * 3600
CATALOG = StaticCatalog(
    {"*": {"load": MetricDefinition("load", 60), "mem_bw": MetricDefinition("mem_bw", 60, "sum")}}
)


def engine(clock: list[float]) -> Engine:
    store = Engine(CATALOG, lambda: clock[0], Limits(retention=3600))
    lines = []
    for host in ("n2", "n1"):
        lines += [f"load,cluster=c,hostname={host} value={i}.5 {NOW + 60 * i + 7}" for i in (0, 1, 3)]
        lines += [
            f"mem_bw,cluster=c,hostname={host},type=socket,type-id={s} value={s} {NOW}" for s in (10, 2)
        ]
    lines.append(
        f"mem_bw,cluster=c,hostname=n1,type=accelerator,type-id=00:49.0,stype=nvlink,stype-id=3 value=7 {NOW}"
    )
    assert store.write("\n".join(lines).encode()).rejections == 0
    return store


def rows(folder: Path, pattern: str) -> list[tuple[object, ...]]:
    with duckdb.connect(":memory:") as database:
        return database.execute(f"SELECT * FROM '{folder}/{pattern}'").fetchall()


def test_windows_are_written_before_they_go(tmp_path: Path) -> None:
    clock = [float(NOW)]
    store = engine(clock)
    retention = Retention(store, 0, lambda: 0, None, ParquetArchive(store, DirectoryObjectStore(tmp_path)))
    clock[0] = NOW + 3600 + 3600
    assert retention.by_age() == 2
    found = rows(tmp_path, f"c/{NOW + 3600}.parquet")
    assert found == [
        ("c", "n1", "load", "node", "", "", NOW + 7, 60, 0.5),
        ("c", "n1", "load", "node", "", "", NOW + 67, 60, 1.5),
        ("c", "n1", "load", "node", "", "", NOW + 187, 60, 3.5),
        ("c", "n1", "mem_bw", "accelerator", "00:49.0", "nvlink3", NOW, 60, 7.0),
        ("c", "n1", "mem_bw", "socket", "2", "", NOW, 60, 2.0),
        ("c", "n1", "mem_bw", "socket", "10", "", NOW, 60, 10.0),
        ("c", "n2", "load", "node", "", "", NOW + 7, 60, 0.5),
        ("c", "n2", "load", "node", "", "", NOW + 67, 60, 1.5),
        ("c", "n2", "load", "node", "", "", NOW + 187, 60, 3.5),
        ("c", "n2", "mem_bw", "socket", "2", "", NOW, 60, 2.0),
        ("c", "n2", "mem_bw", "socket", "10", "", NOW, 60, 10.0),
    ]
    assert retention.by_age() == 0
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_long_runs_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "ROWS_PER_FILE", 4)
    store = engine([float(NOW)])
    leaving = [(host, block, window) for host, block in store.blocks() for window in block.windows()]
    report = ParquetArchive(store, DirectoryObjectStore(tmp_path)).write(leaving, NOW)
    assert (report.files, report.rows) == (2, 11)
    assert len(rows(tmp_path, "c/*.parquet")) == 11


def test_what_could_not_be_written_stays(tmp_path: Path) -> None:
    class Full(DirectoryObjectStore):
        def put(self, key: str, content: bytes, **conditions: object) -> str:
            raise OSError("no space left")

    clock = [float(NOW)]
    store = engine(clock)
    retention = Retention(store, 0, lambda: 0, None, ParquetArchive(store, Full(tmp_path)))
    clock[0] = NOW + 7200
    with pytest.raises(OSError, match="no space"):
        retention.by_age()
    assert all(block.windows() for _, block in store.blocks())


@pytest.mark.parametrize(
    ("name", "type", "scope", "id"),
    [("", "", "node", ""), ("socket0", "socket", "socket", "0"), ("core127", "core", "core", "127"),
     ("cpu0", "cpu", "hwthread", "0"), ("memoryDomain0", "memoryDomain", "memoryDomain", "0"),
     ("unknown", "unknown", "unknown", ""), ("12", "", "12", "")],
)  # fmt: skip
def test_components_are_split_into_scope_and_id(name: str, type: str, scope: str, id: str) -> None:
    assert scope_of(Component(name, "", type)) == (scope, id)
