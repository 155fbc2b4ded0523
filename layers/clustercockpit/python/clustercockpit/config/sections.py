"""The sections of `config.json`, key by key: names, types, defaults, what belongs together.

Meaning and effect of each key: `spec/configuration-and-auth.md` chapter 2. Durations and ages are in seconds
here, whatever their notation in the document.
"""

# `key(...)` makes a dataclass field, which the rule does not know.
# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clustercockpit.access.policy import AddressList
from clustercockpit.config.reading import (
    At,
    Wrong,
    age,
    array,
    boolean,
    choice,
    filled_text,
    key,
    number,
    seconds,
    secret,
    section,
    text,
    whole,
)
from clustercockpit.errors import InvalidInputError

DAY = 86_400
HOUR = 3_600


def addresses(value: object, at: At) -> AddressList:
    try:
        return AddressList.parse(array(text)(value, at))
    except InvalidInputError as error:
        raise Wrong(str(error)) from None


def seconds_or_never(value: object, at: At) -> float | None:
    """A duration; `0` and the empty text mean "never"."""
    if value == "":
        return None
    return seconds(value, at) or None


@dataclass(frozen=True, kw_only=True)
class Resampling:
    trigger: int = key(whole(least=1), required=True, default=0)  # points
    resolutions: tuple[int, ...] = key(array(whole(least=1), least=1), required=True, default=())
    minimum_points: int = key(whole(), default=1000)

    def faults(self) -> Iterable[tuple[str, str]]:
        return ()

    @property
    def effective_minimum_points(self) -> int:
        return self.minimum_points if self.minimum_points > 0 else 1000


@dataclass(frozen=True, kw_only=True)
class ApiSubjects:
    subject_job_event: str = key(filled_text, required=True, default="")
    subject_node_state: str = key(filled_text, required=True, default="")
    job_concurrency: int = key(whole(), default=8)
    node_concurrency: int = key(whole(), default=2)
    # Ours: true closes REST start and stop while messages are on, as the reference does
    exclusive: bool = key(boolean, default=False)


@dataclass(frozen=True, kw_only=True)
class S3Target:
    """Where old data goes. Empty keys mean the role of the function or task."""

    target_kind: str = key(choice("file", "s3"), default="file")
    target_path: str = key(text, default="")
    target_endpoint: str = key(text, default="")
    target_bucket: str = key(text, default="")
    target_region: str = key(text, default="us-east-1")
    target_use_path_style: bool = key(boolean, default=False)
    target_access_key: str = key(secret, default="")
    target_secret_key: str = key(secret, default="")

    def target_faults(self) -> Iterable[tuple[str, str]]:
        if self.target_kind == "s3" and not self.target_bucket:
            yield "target-bucket", "is required for target-kind s3"
        if self.target_kind == "file" and not self.target_path:
            yield "target-path", "is required for target-kind file (location means the same)"


@dataclass(frozen=True, kw_only=True)
class NodestateRetention(S3Target):
    policy: str = key(choice("delete", "move"), required=True, default="delete")
    age: int = key(age(HOUR), default=DAY)
    max_file_size_mb: int = key(whole(), default=128)

    def faults(self) -> Iterable[tuple[str, str]]:
        return self.target_faults() if self.policy == "move" else ()


@dataclass(frozen=True, kw_only=True)
class DbConfig:
    cache_size_mb: int = key(whole(), default=2048)
    soft_heap_limit_mb: int = key(whole(), default=16384)
    max_open_connections: int = key(whole(), default=4)
    max_idle_connections: int = key(whole(), default=4)
    max_idle_time_minutes: int = key(whole(), default=10)
    busy_timeout_ms: int = key(whole(), default=60000)


@dataclass(frozen=True, kw_only=True)
class Main:
    addr: str = key(text, default="localhost:8080")
    https_cert_file: str = key(text, default="")
    https_key_file: str = key(text, default="")
    user: str = key(text, default="")
    group: str = key(text, default="")
    redirect_http_to: str = key(text, default="")
    api_allowed_ips: AddressList = key(addresses, default=AddressList)
    metric_allowed_ips: AddressList = key(addresses, default=AddressList)  # ours
    trusted_proxies: AddressList = key(addresses, default=lambda: AddressList(everyone=False))  # ours
    disable_authentication: bool = key(boolean, default=False)
    session_max_age: float | None = key(seconds_or_never, default=7.0 * DAY)
    embed_static_files: bool = key(boolean, default=True)
    static_files: str = key(text, default="")
    db: str = key(text, default="./var/job.db")
    db_config: DbConfig = key(section(DbConfig), default=DbConfig)
    enable_job_taggers: bool = key(boolean, default=False)
    validate: bool = key(boolean, default=False)
    stop_jobs_exceeding_walltime: int = key(whole(), default=0)
    short_running_jobs_duration: int = key(whole(), default=300)
    emission_constant: int = key(whole(), default=0)
    machine_state_dir: str = key(text, default="")
    systemd_unit: str = key(text, default="clustercockpit.service")
    resampling: Resampling | None = key(section(Resampling), default=None)
    api_subjects: ApiSubjects | None = key(section(ApiSubjects), default=None)
    nodestate_retention: NodestateRetention | None = key(section(NodestateRetention), default=None)
    strict_transport_security: bool = key(boolean, default=True)  # ours

    def faults(self) -> Iterable[tuple[str, str]]:
        if bool(self.https_cert_file) != bool(self.https_key_file):
            given, missing = ("https-cert-file", "https-key-file")
            if self.https_key_file:
                given, missing = missing, given
            yield missing, f"is required beside {given}; without it everything would be plain HTTP"
        if not self.embed_static_files and not self.static_files:
            yield "static-files", "is required with embed-static-files false"
        _, separator, port = self.addr.rpartition(":")
        if not separator or not port.isdecimal() or not 0 <= int(port) < 65536:
            yield "addr", "expected host:port, such as 127.0.0.1:8080"

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.addr.rpartition(":")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 — an empty host means all, as in the reference


@dataclass(frozen=True, kw_only=True)
class Nats:
    address: str = key(text, default="")
    username: str = key(text, default="")
    password: str = key(secret, default="")
    creds_file_path: str = key(text, default="")


@dataclass(frozen=True, kw_only=True)
class Jwts:
    max_age: float = key(seconds, required=True, default=2000.0 * HOUR)
    cookie_name: str = key(text, default="")
    validate_user: bool = key(boolean, default=False)
    trusted_issuer: str = key(text, default="")
    sync_user_on_login: bool = key(boolean, default=False)
    update_user_on_login: bool = key(boolean, default=False)
    max_role: str = key(choice("user", "manager", "support", "admin", "api"), default="admin")  # ours
    cookie_domain: str = key(text, default="")  # ours

    def faults(self) -> Iterable[tuple[str, str]]:
        if self.max_age <= 0:
            yield "max-age", "must be longer than 0: tokens would be expired when they are issued"


@dataclass(frozen=True, kw_only=True)
class Ldap:
    url: str = key(filled_text, required=True, default="")
    user_base: str = key(filled_text, required=True, default="")
    search_dn: str = key(filled_text, required=True, default="")
    user_bind: str = key(filled_text, required=True, default="")
    user_filter: str = key(filled_text, required=True, default="")
    username_attr: str = key(text, default="gecos")
    uid_attr: str = key(text, default="uid")
    sync_interval: float = key(seconds, default=0.0)
    sync_del_old_users: bool = key(boolean, default=False)
    sync_user_on_login: bool = key(boolean, default=False)
    update_user_on_login: bool = key(boolean, default=False)
    ca_file: str = key(text, default="")  # ours

    def faults(self) -> Iterable[tuple[str, str]]:
        if not self.url.startswith(("ldap://", "ldaps://", "ldapi://")):
            yield "url", "expected an address that begins with ldap:// or ldaps://"
        if "{username}" not in self.user_bind:
            yield "user_bind", "must hold {username} where the name of the user goes"
        if not (self.user_filter.startswith("(") and self.user_filter.endswith(")")):
            yield "user_filter", "must be a whole filter in parentheses"


@dataclass(frozen=True, kw_only=True)
class Oidc:
    provider: str = key(filled_text, required=True, default="")
    sync_user_on_login: bool = key(boolean, default=False)
    update_user_on_login: bool = key(boolean, default=False)
    role_sources: tuple[str, ...] = key(array(text), default=())  # ours


@dataclass(frozen=True, kw_only=True)
class Auth:
    jwts: Jwts = key(section(Jwts), required=True, default=Jwts)
    ldap: Ldap | None = key(section(Ldap), default=None)
    oidc: Oidc | None = key(section(Oidc), default=None)
    legacy_metric_roles: bool = key(boolean, default=False)  # ours
    allow_source_mixing: bool = key(boolean, default=False)  # ours
    keep_local_roles: tuple[str, ...] = key(array(text), default=("api",))  # ours


@dataclass(frozen=True, kw_only=True)
class Cron:
    """Seconds between runs; 0 means the worker does not run."""

    commit_job_worker: float = key(seconds, default=120.0)
    duration_worker: float = key(seconds, default=300.0)
    footprint_worker: float = key(seconds, default=600.0)


@dataclass(frozen=True, kw_only=True)
class Retention(S3Target):
    policy: str = key(choice("none", "delete", "copy", "move"), required=True, default="none")
    age: int = key(age(DAY), default=0)
    include_db: bool = key(boolean, default=True)
    omit_tagged: str = key(choice("none", "all", "user"), default="none")
    format: str = key(choice("json", "parquet"), default="json")
    max_file_size_mb: int = key(whole(), default=512)

    def faults(self) -> Iterable[tuple[str, str]]:
        if self.policy == "none":
            return
        if self.age < DAY:
            yield "age", f"is required for policy {self.policy} and must be at least one day"
        if self.policy in ("copy", "move"):
            yield from self.target_faults()


@dataclass(frozen=True, kw_only=True)
class Archive:
    kind: str = key(choice("file", "s3", "sqlite"), required=True, default="file")
    path: str = key(text, default="")
    db_path: str = key(text, default="")
    bucket: str = key(text, default="")
    endpoint: str = key(text, default="")
    access_key: str = key(secret, default="")
    secret_key: str = key(secret, default="")
    region: str = key(text, default="")
    use_path_style: bool = key(boolean, default=False)
    compression: int = key(whole(), default=7)  # days
    retention: Retention | None = key(section(Retention), default=None)

    def faults(self) -> Iterable[tuple[str, str]]:
        if self.kind == "file" and not self.path:
            yield "path", "is required for kind file"
        if self.kind == "s3" and not self.bucket:
            yield "bucket", "is required for kind s3"
        if self.kind == "sqlite":
            yield "kind", "sqlite archives are not read here; convert the archive to file or s3 first"
        if bool(self.access_key) != bool(self.secret_key):
            yield "secret-key", "access-key and secret-key belong together"


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    file_format: str = key(choice("wal", "json"), default="wal")
    directory: str = key(text, default="./var/checkpoints")
    max_wal_size: int = key(whole(least=0), default=0)


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    mode: str = key(choice("delete", "archive"), default="delete")
    directory: str = key(text, default="")

    def faults(self) -> Iterable[tuple[str, str]]:
        if self.mode == "archive" and not self.directory:
            yield "directory", "is required for mode archive"


@dataclass(frozen=True, kw_only=True)
class Subscription:
    subscribe_to: str = key(filled_text, required=True, default="")
    cluster_tag: str = key(text, default="")


@dataclass(frozen=True, kw_only=True)
class Debug:
    dump_to_file: str = key(text, default="")
    gops: bool = key(boolean, default=False)


@dataclass(frozen=True, kw_only=True)
class MetricStore:
    retention_in_memory: float = key(seconds, required=True, default=48.0 * HOUR)
    memory_cap: float = key(number, required=True, default=0.0)  # GB of 10^9 bytes, 0 for none
    num_workers: int = key(whole(), default=0)
    checkpoint_interval: float = key(seconds, default=12.0 * HOUR)
    checkpoints: Checkpoints = key(section(Checkpoints), default=Checkpoints)
    cleanup: Cleanup = key(section(Cleanup), default=Cleanup)
    nats_subscriptions: tuple[Subscription, ...] = key(array(section(Subscription)), default=())
    debug: Debug = key(section(Debug), default=Debug)

    def faults(self) -> Iterable[tuple[str, str]]:
        if self.memory_cap < 0:
            yield "memory-cap", "must not be negative; 0 means no cap"
        if self.retention_in_memory < 0:
            yield "retention-in-memory", "must not be negative"

    @property
    def memory_cap_bytes(self) -> int:
        return int(self.memory_cap * 1_000_000_000)


@dataclass(frozen=True, kw_only=True)
class ExternalStore:
    scope: str = key(filled_text, required=True, default="")
    url: str = key(filled_text, required=True, default="")
    token: str = key(secret, required=True, default="")
