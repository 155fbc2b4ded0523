"""What a cold start of a function imports (the budget of seconds is measured by tests/bench)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each costs a tenth of a second or more; who needs one imports it at first use.
HEAVY = {"ariadne", "boto3", "botocore", "duckdb", "graphql", "httpx", "numba", "numpy", "pynamodb"}
MODULES = 620
"""Of them 440 are FastAPI's and Python's own."""


def imported(function: str) -> set[str]:
    code = (
        "import sys\n"
        f"sys.path[:0] = [{str(ROOT / 'functions' / function)!r},"
        f" {str(ROOT / 'layers/clustercockpit/python')!r}]\n"
        "import handler, json\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={}, cwd="/")
    return set(orjson.loads(done.stdout))


@pytest.mark.parametrize("function", ["api", "query"])
def test_an_application_imports_little_before_its_first_request(function: str) -> None:
    modules = imported(function)
    assert "clustercockpit.http.application" in modules
    assert not modules & HEAVY, function
    assert len(modules) <= MODULES


@pytest.mark.parametrize("function", ["archiver", "footprint", "index-builder", "node-health", "sweeper"])
def test_a_worker_does_not_import_an_application(function: str) -> None:
    assert not imported(function) & {"fastapi", "ariadne", "graphql"}
