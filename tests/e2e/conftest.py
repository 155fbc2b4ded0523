"""One local stack for all tests that leave it whole; logs of every stack in the report of a failed test."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from tests.local_stack_process import ROOT, LocalStackProcess

_STACKS: list[LocalStackProcess] = []


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStackProcess]:
    """With the demo clusters and people, and nothing else in it. Tests use their own job ids and hosts."""
    yield from _running(tmp_path_factory, "stack", start=True)


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStackProcess]:
    """A second one beside it, not started yet, for tests that end it in every way."""
    yield from _running(tmp_path_factory, "own-stack", start=False)


def _running(
    folders: pytest.TempPathFactory, name: str, *, start: bool
) -> Generator[LocalStackProcess, None, None]:
    if not (ROOT / ".venv-aws").is_dir():
        pytest.skip("the AWS emulator's environment is not installed: `make test` makes it")
    stack = LocalStackProcess(folders.mktemp(name))
    _STACKS.append(stack)
    try:
        if start:
            stack.start_and_wait()
        yield stack
    finally:
        stack.stop()
        _STACKS.remove(stack)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for stack in _STACKS:
            report.sections.extend(stack.story())
    return report
