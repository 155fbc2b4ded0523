"""Keys from Secrets Manager."""

from __future__ import annotations

from dataclasses import replace

import boto3
import pytest

from clustercockpit.errors import ConfigurationError, UnavailableError
from clustercockpit.settings import Settings
from clustercockpit.site import Site


def _secret(text: str) -> str:
    client = boto3.client("secretsmanager", region_name="eu-central-1")
    return client.create_secret(Name="keys", SecretString=text)["ARN"]


def test_a_function_finds_its_keys_by_the_secret_it_is_told(aws: None, aws_settings: Settings) -> None:
    arn = _secret('{"JWT_PUBLIC_KEY": "public", "SESSION_KEY": "session", "OTHER": 1}')
    settings = Site(replace(aws_settings, auth_secret_arn=arn, log_level="warn")).settings
    assert (settings.jwt_public_key, settings.session_key) == ("public", "session")
    assert (settings.jwt_private_key, settings.log_level) == ("", "warn")


def test_keys_in_the_environment_go_before_the_secret(aws: None, aws_settings: Settings) -> None:
    given = replace(aws_settings, auth_secret_arn="arn:of:nothing", jwt_public_key="mine")
    assert Site(given).settings.jwt_public_key == "mine"


def test_a_missing_secret_is_named(aws: None, aws_settings: Settings) -> None:
    with pytest.raises(UnavailableError, match=r"CC_AUTH_SECRET_ARN.*ResourceNotFound"):
        _ = Site(replace(aws_settings, auth_secret_arn="gone")).settings


@pytest.mark.parametrize("text", ["s3cret-words", '["s3cret-words"]', '{"SESSION_KEY": ["s3cret-words"]}'])
def test_a_damaged_secret_is_refused_and_not_shown(aws: None, aws_settings: Settings, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _ = Site(replace(aws_settings, auth_secret_arn=_secret(text))).settings
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
