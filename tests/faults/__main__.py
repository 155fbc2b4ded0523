"""`python -m tests.faults FIRST COUNT [FOLDER]`: that many trials, and a JSON line that sums them up."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults import trial

from cc_metric_store import kernels
from cc_metric_store.engine import Engine


def main() -> int:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    folder = Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp(prefix="faults-"))
    logging.basicConfig(level=logging.CRITICAL if len(sys.argv) <= 4 else logging.DEBUG)
    cache = os.environ.get("NUMBA_CACHE_DIR", "")
    kernel = kernels.load(cache) if cache else None
    if kernel is not None:
        # Compiled before the forks, so that each child has it
        kernels.Kernel(Engine(trial.CATALOG, time.time), kernel).warm_up()
    began = time.monotonic()
    outcomes = trial.run(range(first, first + count), folder, kernel)
    counts: Counter[str] = Counter()
    profiles: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
        profiles.update(outcome.profiles)
    failed = {o.seed: [*o.profiles, *o.wrong] for o in outcomes if o.wrong}
    summary = {
        "trials": len(outcomes), "failed": failed, "lives": dict(profiles), "counts": dict(counts),
        "compiled": kernel is not None, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    print(json.dumps(summary))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
