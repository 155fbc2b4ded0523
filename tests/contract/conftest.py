"""Fixtures of the contract tests: each port against each of its implementations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from clustercockpit.settings import Settings
from clustercockpit.storage.dynamodb.table import Table


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS in this process: nothing leaves it, and no credentials of the machine are used."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield


@pytest.fixture
def aws_settings() -> Settings:
    return Settings(
        table_name="cc-test",
        archive_bucket="cc-test-archive",
        data_bucket="cc-test-data",
        aws_region="eu-central-1",
    )


@pytest.fixture
def dynamodb_table(aws: None, aws_settings: Settings) -> Table:
    """The one table, created empty."""
    table = Table(aws_settings)
    table.create()
    return table
