"""The store's promise under random faults: the trials of `tests.faults`, on two cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TRIALS = 200
WORKERS = 2
ROOMS = (".", "layers/clustercockpit/python", "containers/metric-store")


@pytest.mark.slow
def test_nothing_acknowledged_is_lost(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Any
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / room) for room in ROOMS),
        # A fixed place, so that the next run finds the code compiled
        "NUMBA_CACHE_DIR": str(Path(tmp_path_factory.getbasetemp()).parent / "cc-numba-cache"),
    }
    each = TRIALS // WORKERS
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults", str(n * each), str(each), str(tmp_path / f"worker-{n}")],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(WORKERS)
    ]  # fmt: skip
    totals: Counter[str] = Counter()
    lives: Counter[str] = Counter()
    failed: dict[str, Any] = {}
    seconds = 0.0
    for worker in workers:
        output, errors = worker.communicate(timeout=600)
        assert output, errors[-3000:]
        summary = json.loads(output.splitlines()[-1])
        totals.update(summary["counts"], trials=summary["trials"])
        lives.update(summary["lives"])
        failed |= summary["failed"]
        seconds = max(seconds, summary["seconds"])
    with capsys.disabled():
        print(f"\nfault trials: {totals['trials']} in {seconds:.0f} s, {len(failed)} failed")
        print("  lives ended by: " + ", ".join(f"{k} {v}" for k, v in sorted(lives.items())))
        print("  seen: " + ", ".join(f"{k} {v}" for k, v in sorted(totals.items()) if k != "trials"))
    assert not failed, f"seed → lives and what was wrong: {json.dumps(failed, indent=1)[:4000]}"
    assert totals["trials"] == TRIALS
    # The trials are worth nothing if nothing happens in them
    assert totals["acknowledged samples"] > 20_000
    assert totals["done checkpoint"] > 200
    assert totals["failed checkpoint"] > 20
    assert totals["refused"] > 20
    assert totals["ended lost"] > 5
