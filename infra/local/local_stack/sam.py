"""`sam build` and `sam deploy` against the emulator: the way to AWS, without AWS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from local_stack.console import LocalStackError
from local_stack.deployment import PARTS_BUCKET, client, ensure_bucket, stack_outputs
from local_stack.emulator import CREDENTIALS, REGION, Emulator
from local_stack.options import ROOT

SAM = ROOT / ".venv-sam" / "bin" / "sam"


def build(folder: Path, *, host: bool) -> None:
    """Layer, functions and templates into `folder`; for this machine or for AWS."""
    _sam(
        ["build", "--build-dir", str(folder)],
        {"CC_BUILD_FOR": "host" if host else "aws"},
    )


def deploy(emulator: Emulator, folder: Path, parameters: Mapping[str, str]) -> dict[str, str]:
    """Deploy what `build` left in `folder`; the outputs of the stack."""
    ensure_bucket(client(emulator, "s3"), PARTS_BUCKET)
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    _sam(
        [
            *("deploy", "--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"),
            *("--template-file", str(folder / "template.yaml")),
            *("--no-progressbar", "--parameter-overrides", *overrides),
        ],
        {**CREDENTIALS, "AWS_ENDPOINT_URL": emulator.options.aws_url},
    )
    return stack_outputs(emulator)


def _sam(arguments: list[str], environment: Mapping[str, str]) -> None:
    if not SAM.is_file():
        raise LocalStackError(f"{SAM} is missing: python3 infra/local/environment.py deploy")
    path = f"{SAM.parent}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [str(SAM), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "SAM_CLI_TELEMETRY": "0",
            "PATH": path,
            "AWS_DEFAULT_REGION": REGION,
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        output = done.stdout.decode(errors="replace")
        raise LocalStackError(f"`sam {arguments[0]}` ended with status {done.returncode}:\n{output[-5000:]}")
