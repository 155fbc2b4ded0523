"""`python -m tests.bench.run [name …]`: the benchmark scripts one after the other, each within its time.

Each wants the machine to itself. Those not named in `SCRIPTS` hold assertions: pytest runs them.
Fails if a script fails or takes too long.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# (arguments, seconds): together they end within six minutes on two cores
SCRIPTS: dict[str, tuple[list[str], int]] = {
    "bench_metric_store": ([], 200),
    "bench_metric_store_doors": ([], 110),
    "bench_index": (["--jobs", "100000"], 50),
}
_ROOTS = ("layers/clustercockpit/python", "containers/metric-store", "infra/local", ".")


def main() -> int:
    found = sorted(path.stem for path in HERE.glob("bench_*.py"))
    chosen = sys.argv[1:] or [*SCRIPTS, *(name for name in found if name not in SCRIPTS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / root) for root in _ROOTS)}
    failed = []
    for name in chosen:
        arguments, limit = SCRIPTS.get(name, ([], 60))
        script = str(HERE / f"{name}.py")
        command = [script, *arguments] if name in SCRIPTS else ["-m", "pytest", "-q", "-s", script]
        began = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, *command],
                env=environment, cwd=ROOT, timeout=limit, check=False,
            )  # fmt: skip
            if done.returncode:
                failed.append(f"{name} ended with status {done.returncode}")
        except subprocess.TimeoutExpired:
            failed.append(f"{name} took more than {limit} s")
        print(f"\n{name}: {time.monotonic() - began:.0f} s", flush=True)
    for text in failed:
        print(text, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
