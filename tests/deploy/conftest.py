"""The template, built and deployed by SAM to an emulator of AWS; see `local_stack.deploy`."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local_stack import sam
from local_stack.console import LocalStackError
from local_stack.deploy import DeployedStack
from local_stack.options import Options, Ports, check_ports_free

NEEDED = "not installed: python3 infra/local/environment.py deploy aws-emulator"


def _free_ports() -> Ports:
    for _ in range(50):
        ports = Ports(random.randrange(20000, 32000))
        try:
            check_ports_free(Options(ports))
        except LocalStackError:
            continue
        return ports
    pytest.fail("no six free ports in a row")


def _needs(*environments: str) -> None:
    root = sam.ROOT
    for environment in environments:
        if not (root / environment / "bin").is_dir():
            pytest.skip(f"{environment} is {NEEDED}")


@pytest.fixture(scope="session")
def built_for_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _needs(".venv", ".venv-sam")
    folder = tmp_path_factory.mktemp("build-host")
    sam.build(folder, host=True)
    return folder


@pytest.fixture(scope="session")
def built_for_aws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _needs(".venv", ".venv-sam")
    folder = tmp_path_factory.mktemp("build-aws")
    sam.build(folder, host=False)
    return folder


@pytest.fixture(scope="session")
def stack(built_for_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStack]:
    _needs(".venv-aws")
    before = dict(os.environ)
    deployed = DeployedStack(Options(_free_ports(), var=tmp_path_factory.mktemp("var")), built_for_host)
    try:
        deployed.start()
        yield deployed
    finally:
        deployed.stop()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def gateway(stack: DeployedStack) -> Iterator[httpx.Client]:
    """HTTP to the API, through the emulated gateway and its functions. The first call starts a function."""
    with httpx.Client(
        base_url=stack.options.aws_url, headers={"Host": stack.gateway_host}, timeout=60, trust_env=False
    ) as client:
        yield client
