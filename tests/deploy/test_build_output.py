"""What `sam build` leaves: within Lambda's limits, for the right machine, and each function complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FUNCTIONS = ["Api", "Query", "Archiver", "Sweeper", "IndexBuilder"]
BUDGET_MB = 200  # of the 250 that Lambda takes, function and layer unzipped
AARCH64 = 183  # e_machine


def size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_and_layer_stay_within_the_budget(built_for_aws: Path, function: str) -> None:
    total = size(built_for_aws / function) + size(built_for_aws / "Library")
    print(f"{function} with layer: {total:.0f} MB")
    assert 10 < total < BUDGET_MB


def test_every_library_is_for_arm64_and_the_functions_python(built_for_aws: Path) -> None:
    found = list(built_for_aws.rglob("*.so"))
    assert len(found) > 10
    for file in found:
        with file.open("rb") as opened:
            header = opened.read(20)
        assert header[:4] == b"\x7fELF", file
        assert int.from_bytes(header[18:20], "little") == AARCH64, file
        assert "cpython-" not in file.name or "cpython-313" in file.name, file


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_imports_alone(built_for_host: Path, function: str) -> None:
    """With nothing but its own folder and the layer: what is missing shows here, not at the first call."""
    folders = [str(built_for_host / function), str(built_for_host / "Library" / "python")]
    code = f"import sys; sys.path[:0] = {folders}; import handler; assert callable(handler.handler); "
    # Half of the AWS client is taken out of the layer: what the library uses must be left
    services = ("dynamodb", "s3", "sqs", "secretsmanager")
    code += f"import boto3; [boto3.client(name) for name in {services}]"
    environment = {
        "PATH": os.environ["PATH"],
        "CC_ARCHIVE_BUCKET": "archive",
        "CC_DATA_BUCKET": "data",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    done = subprocess.run(
        [Path(sys.executable).resolve(), "-I", "-S", "-c", code],
        env=environment,
        cwd=built_for_host,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
