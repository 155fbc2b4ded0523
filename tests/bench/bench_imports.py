"""CPU time of importing the applications' handlers: the budget of a cold start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def seconds(function: str) -> float:
    """CPU seconds of the import alone, the best of five processes (bytecode is there after the first)."""
    code = (
        "import sys, time\n"
        f"sys.path[:0] = [{str(ROOT / 'functions' / function)!r},"
        f" {str(ROOT / 'layers/clustercockpit/python')!r}]\n"
        "begun = time.process_time()\n"
        "import handler\n"
        "print(time.process_time() - begun)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={}, cwd="/").stdout
        for _ in range(5)
    ]
    return min(float(run) for run in runs)


@pytest.mark.parametrize(("function", "budget"), [("api", 0.7), ("query", 1.0)])
def test_a_cold_start_imports_within_its_budget(function: str, budget: float) -> None:
    taken = seconds(function)
    print(f"\nimport of {function}: {taken:.2f} s CPU of {budget}")
    assert taken <= budget
