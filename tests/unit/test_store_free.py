"""`/api/free`: what a selector names is freed, and nothing beside it; and who waits for the lock gets it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.configuration import StoreConfiguration
from cc_metric_store.fair_lock import FairLock
from cc_metric_store.service import Service
from cc_metric_store.tokens import TokenGate

NOW = 1_700_000_000 // 3600 * 3600 + 3600 * 10
CATALOG = StaticCatalog({"*": {"m": MetricDefinition("m", 60, "sum")}})


def service() -> Service:
    """Two hosts with a node, two sockets and a part of one; windows sealed, patched and open."""
    made = Service(StoreConfiguration(), lambda: CATALOG, None, TokenGate(None), clock=lambda: NOW)
    tags = [
        "",
        ",type=socket,type-id=0",
        ",type=socket,type-id=1",
        ",type=socket,type-id=0,stype=die,stype-id=3",
    ]
    for hour in (3, 2, 0):
        for host in "hi":
            lines = [
                f"m,cluster=c,hostname={host}{t} value={k + 1} {NOW - 3600 * hour - 600}"
                for k, t in enumerate(tags)
            ]
            made.engine.write("\n".join(lines).encode())
        if hour:
            for _ in range(2):
                made.engine.seal_finished()
    late = f"m,cluster=c,hostname=h,type=socket,type-id=0 value=7 {NOW - 3 * 3600 - 1200}"
    made.engine.write(late.encode())
    return made


def held(made: Service, host: str) -> dict[str, int]:
    """Component → number of its samples."""
    found = {}
    for of, block in made.engine.blocks():
        if of.name != host:
            continue
        counts = sum(np.sum(~np.isnan(made.engine.store.window(block, w)), axis=1) for w in block.windows())
        for row, series in enumerate(block.series[: block.rows].tolist()):
            part = made.engine.names.components[made.engine.series.component[series]]
            found[f"{part.name}/{part.subname}"] = int(np.asarray(counts)[row]) if block.windows() else 0
    return found


FULL = {"/": 3, "socket0/": 4, "socket1/": 3, "socket0/die3": 3}


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        (["c", "h", "socket0"], {"socket0/": 0, "socket0/die3": 0}),
        (["c", "h", "socket0", "die3"], {"socket0/die3": 0}),
        (["c", "h", "nothing"], {}),
        (["c", "h", "socket0", "die3", "deeper"], {}),
        (["c", "h"], dict.fromkeys(FULL, 0)),
    ],
)
def test_a_selector_frees_what_is_below_it_and_nothing_else(
    selector: list[str], left: dict[str, int]
) -> None:
    made = service()
    assert held(made, "h") == FULL
    freed = made._free(NOW + 3600, [selector])
    assert held(made, "h") == {**FULL, **left}
    assert held(made, "i") == {**FULL, "socket0/": 3}
    assert freed == (3 if left else 0)


def test_a_part_is_freed_up_to_the_time_only() -> None:
    made = service()
    made._free(NOW - 3600, [["c", "h", "socket1"]])
    assert held(made, "h") == {**FULL, "socket1/": 1}


def test_who_waits_for_the_lock_is_next() -> None:
    lock, asked, got = FairLock(), threading.Event(), threading.Event()

    def reader() -> None:
        asked.set()
        with lock, lock:
            got.set()

    with lock:
        thread = threading.Thread(target=reader)
        thread.start()
        asked.wait()
        while not lock._door.locked():
            pass
    with lock:  # a writer that comes back at once
        assert got.is_set()
    thread.join()
    with pytest.raises(RuntimeError):
        lock.release()
