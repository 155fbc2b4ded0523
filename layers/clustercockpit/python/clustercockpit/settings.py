"""The one place that reads the process environment.

Deployment facts (names of tables and buckets, addresses) and secrets come from the environment, which the
template, the local stack, or an installation's `.env` fills. Behaviour a site chooses lives in
`config.json` (the `config` room). Variable names that an existing installation's `.env` uses are kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class S3Access:
    """How an S3 server is reached that the configuration names; empty means as AWS does."""

    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    path_style: bool = False


@dataclass(frozen=True)
class Settings:
    """Facts about the deployment. Empty string means "not set"."""

    # Where things are stored
    table_name: str = "clustercockpit"
    archive_bucket: str = ""
    data_bucket: str = ""
    archive_queue_url: str = ""
    aws_endpoint_url: str = ""
    aws_region: str = "eu-central-1"
    # Where the container is
    metric_store_url: str = ""
    # Where the metric store itself listens, and which part of the hosts it keeps (one part today)
    metric_store_address: str = "127.0.0.1:8082"
    metric_store_partition: str = "0"
    # Whether its log of writes in a directory is flushed to the disk before a write is acknowledged
    metric_store_fsync: bool = True
    # How long its log gathers writes before it puts them into a bucket; they are acknowledged after that
    metric_store_commit_milliseconds: int = 2000
    # Where its compiled code is kept; must be a folder that can be written to
    numba_cache_dir: str = ""
    # NATS server; set, it goes before `nats.address` of the configuration
    nats_url: str = ""
    # Documents: a directory for a single box, or the data bucket's `config/` prefix
    config_file: str = ""
    # The built browser application
    web_root: str = ""
    # Secrets, in the seed's names. On AWS a function is told only where they lie (see storage.secrets).
    auth_secret_arn: str = ""
    jwt_public_key: str = field(default="", repr=False)
    jwt_private_key: str = field(default="", repr=False)
    session_key: str = field(default="", repr=False)
    cross_login_jwt_hs512_key: str = field(default="", repr=False)
    cross_login_jwt_public_key: str = field(default="", repr=False)
    ldap_admin_password: str = field(default="", repr=False)
    oid_client_id: str = field(default="", repr=False)
    oid_client_secret: str = field(default="", repr=False)
    # Timing that differs between AWS and a laptop (ruling 8)
    archive_delay_seconds: int = 90
    change_shards: int = 2
    # How long a job must have run before its footprint is worked out while it runs
    footprint_after_seconds: int = 600
    log_level: str = "info"
    # The archive's S3 server, where `archive` in the configuration says so (one box only)
    archive_s3: S3Access | None = None
    # Start although the configuration has guarding keys that are not active yet
    accept_inactive_keys: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; `environ` defaults to the process environment.

        Raises ValueError naming the variable when a number is not one.
        """
        env = os.environ if environ is None else environ

        def number(name: str, default: int) -> int:
            text = env.get(name, "")
            if not text:
                return default
            try:
                return int(text)
            except ValueError:
                raise ValueError(
                    f"environment variable {name} must be a whole number, got {text!r}"
                ) from None

        return cls(
            table_name=env.get("CC_TABLE_NAME", cls.table_name),
            archive_bucket=env.get("CC_ARCHIVE_BUCKET", ""),
            data_bucket=env.get("CC_DATA_BUCKET", ""),
            archive_queue_url=env.get("CC_ARCHIVE_QUEUE_URL", ""),
            aws_endpoint_url=env.get("AWS_ENDPOINT_URL", ""),
            aws_region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or cls.aws_region,
            metric_store_url=env.get("CC_METRIC_STORE_URL", ""),
            metric_store_address=env.get("CC_METRIC_STORE_ADDRESS") or cls.metric_store_address,
            metric_store_partition=env.get("CC_METRIC_STORE_PARTITION") or cls.metric_store_partition,
            metric_store_fsync=env.get("CC_METRIC_STORE_FSYNC", "1").lower() not in ("0", "false", "no"),
            metric_store_commit_milliseconds=number(
                "CC_METRIC_STORE_COMMIT_MILLISECONDS", cls.metric_store_commit_milliseconds
            ),
            numba_cache_dir=env.get("NUMBA_CACHE_DIR", ""),
            nats_url=env.get("CC_NATS_URL", ""),
            config_file=env.get("CC_CONFIG_FILE", ""),
            web_root=env.get("CC_WEB_ROOT", ""),
            auth_secret_arn=env.get("CC_AUTH_SECRET_ARN", ""),
            jwt_public_key=env.get("JWT_PUBLIC_KEY", ""),
            jwt_private_key=env.get("JWT_PRIVATE_KEY", ""),
            session_key=env.get("SESSION_KEY", ""),
            cross_login_jwt_hs512_key=env.get("CROSS_LOGIN_JWT_HS512_KEY", ""),
            cross_login_jwt_public_key=env.get("CROSS_LOGIN_JWT_PUBLIC_KEY", ""),
            ldap_admin_password=env.get("LDAP_ADMIN_PASSWORD", ""),
            oid_client_id=env.get("OID_CLIENT_ID", ""),
            oid_client_secret=env.get("OID_CLIENT_SECRET", ""),
            archive_delay_seconds=number("CC_ARCHIVE_DELAY_SECONDS", cls.archive_delay_seconds),
            change_shards=number("CC_CHANGE_SHARDS", cls.change_shards),
            footprint_after_seconds=number("CC_FOOTPRINT_AFTER_SECONDS", cls.footprint_after_seconds),
            log_level=env.get("CC_LOG_LEVEL", cls.log_level),
            accept_inactive_keys=env.get("CC_ACCEPT_INACTIVE_KEYS", "") in ("1", "true"),
        )


def process_environment() -> MutableMapping[str, str]:
    """The environment itself, for an installation's `.env` to be read into before the settings are."""
    return os.environ


def notify_socket() -> str:
    """Where systemd wants to be told about readiness; empty if it does not."""
    return os.environ.get("NOTIFY_SOCKET", "")
