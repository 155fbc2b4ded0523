"""`python -m tests.soak MINUTES`: fault trials with new seeds, kills of real processes, and fuzzing.

Ends with 1 at the first thing that was lost; the output says the seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    seconds = int(minutes * 60)
    cache = os.environ.get("NUMBA_CACHE_DIR") or str(Path(tempfile.gettempdir(), "cc-soak-numba"))
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": cache,
        "PYTHONPATH": os.pathsep.join(
            [".", "layers/clustercockpit/python", "containers/metric-store", "infra/local"]
        ),
        "CC_STORE_KILLS": str(max(32, seconds // 5)),
    }

    def started(*command: str) -> subprocess.Popen[bytes]:
        print("+", *command, flush=True)
        return subprocess.Popen([sys.executable, *command], env=environment)

    end = time.monotonic() + seconds
    failed = 0
    first = int(time.time()) % 1_000_000 * 1000
    others = [started("-m", "pytest", "-q", "tests/integration/test_store_kills.py")]
    for name in ("lines", "questions"):
        fuzz = started("-m", "tests.soak.fuzz", name, str(seconds // 3))
        while fuzz.poll() is None:
            failed += trials(started, first)
            first += 25
        failed += fuzz.returncode != 0
    while time.monotonic() < end and not failed:
        failed += trials(started, first)
        first += 25
    for process in others:
        failed += process.wait() != 0
    print(f"soak: {'FAILED' if failed else 'nothing lost'}")
    return 1 if failed else 0


def trials(started: object, first: int) -> int:
    process = started("-m", "tests.faults", str(first), "25")  # type: ignore[operator]
    return int(process.wait() != 0)


if __name__ == "__main__":
    sys.exit(main())
