"""Secrets in AWS Secrets Manager: read once per process, never kept in a function's environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import orjson

from clustercockpit.errors import ConfigurationError, UnavailableError
from clustercockpit.settings import Settings
from clustercockpit.storage import aws

# Keys of the secret's JSON document, in the words of an installation's `.env` → names in the settings
SECRET_KEYS: Final = {
    "JWT_PUBLIC_KEY": "jwt_public_key",
    "JWT_PRIVATE_KEY": "jwt_private_key",
    "SESSION_KEY": "session_key",
    "CROSS_LOGIN_JWT_HS512_KEY": "cross_login_jwt_hs512_key",
    "CROSS_LOGIN_JWT_PUBLIC_KEY": "cross_login_jwt_public_key",
    "LDAP_ADMIN_PASSWORD": "ldap_admin_password",
    "OID_CLIENT_ID": "oid_client_id",
    "OID_CLIENT_SECRET": "oid_client_secret",
}


def with_secrets(settings: Settings) -> Settings:
    """The settings with what `auth_secret_arn` holds; keys it does not hold stay as they are.

    UnavailableError where it cannot be read, ConfigurationError where it is not a JSON object of texts.
    Neither says anything of the content.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"the secret {settings.auth_secret_arn} (CC_AUTH_SECRET_ARN)"
    try:
        answer = aws.client(settings, "secretsmanager").get_secret_value(SecretId=settings.auth_secret_arn)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise UnavailableError(f"{where} cannot be read: {code}") from None
    except BotoCoreError:
        raise UnavailableError(f"{where} cannot be read") from None
    try:
        document = orjson.loads(answer.get("SecretString") or b"")
    except orjson.JSONDecodeError:
        raise ConfigurationError(f"{where} must hold a JSON object") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{where} must hold a JSON object")
    found: dict[str, str] = {}
    for key, name in SECRET_KEYS.items():
        value = document.get(key, "")
        if not isinstance(value, str):
            raise ConfigurationError(f"{key} in {where} must be text")
        if value:
            found[name] = value
    return replace(settings, **found)  # type: ignore[arg-type]  # all of them are texts
