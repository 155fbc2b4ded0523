from __future__ import annotations

import pytest

from cc_metric_store.wiring import build
from clustercockpit.errors import ConfigurationError
from clustercockpit.settings import Settings


def test_defaults_are_values_not_descriptors() -> None:
    settings = Settings.from_environment({})
    assert settings.table_name == "clustercockpit"
    assert settings.archive_delay_seconds == 90


def test_a_number_that_is_none_names_its_variable() -> None:
    with pytest.raises(ValueError, match="CC_CHANGE_SHARDS"):
        Settings.from_environment({"CC_CHANGE_SHARDS": "two"})


def test_collectors_are_acknowledged_before_they_give_up() -> None:
    settings = Settings(data_bucket="a-bucket", jwt_public_key="", metric_store_commit_milliseconds=5000)
    with pytest.raises(
        ConfigurationError, match="CC_METRIC_STORE_COMMIT_MILLISECONDS must be from 0 to 3000"
    ):
        build(settings, "", "127.0.0.1:1", authenticate=False)


def test_secrets_do_not_show_in_repr() -> None:
    assert "hunter2" not in repr(Settings.from_environment({"SESSION_KEY": "hunter2"}))
