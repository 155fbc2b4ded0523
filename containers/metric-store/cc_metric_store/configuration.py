"""What the store takes from `config.json`: the sections `metric-store`, `metrics` and `nats`.

A site's document is read and checked as a whole, as the hub does it. A store by itself has a document with a
section `metrics` and nothing that only concerns a hub; of that its own sections are read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from clustercockpit.config import spelling
from clustercockpit.config.reading import At
from clustercockpit.config.sections import MetricStore
from clustercockpit.config.source import Place
from clustercockpit.errors import ConfigurationError

if TYPE_CHECKING:
    from clustercockpit.config.configuration import Configuration
    from clustercockpit.config.source import Place

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# A crash replays what came since the last checkpoint: a longer interval than this buys nothing.
LONGEST_CHECKPOINT_INTERVAL = 900.0
_FOR_EVER = 10 * 366 * 86400
CHECKPOINT_DIRECTORY = "./var/checkpoints"


@dataclass(frozen=True, slots=True)
class Subscription:
    subject: str
    cluster: str = ""  # for lines without a cluster tag


@dataclass(frozen=True, slots=True)
class NatsConnection:
    address: str = ""
    username: str = ""
    password: str = ""
    credentials: str = ""  # path of a creds file


@dataclass(frozen=True, slots=True)
class StoreConfiguration:
    """Times in seconds, sizes in bytes."""

    retention: int = 48 * 3600
    memory_cap: int = 0  # 0: only what the process may use
    checkpoint_interval: float = LONGEST_CHECKPOINT_INTERVAL
    checkpoint_directory: str = CHECKPOINT_DIRECTORY
    cleanup_mode: str = "delete"
    cleanup_directory: str = ""
    subscriptions: tuple[Subscription, ...] = ()
    nats: NatsConnection = NatsConnection()
    metrics: Mapping[str, object] | None = None
    minimum_points: int = 0

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StoreConfiguration:
        """The sections of a configuration document. ConfigurationError names the key."""
        section = _section(document, "metric-store")
        checkpoints = _section(section, "checkpoints", "metric-store.")
        cleanup = _section(section, "cleanup", "metric-store.")
        nats = _section(document, "nats")
        main = _section(document, "main")
        retention = seconds(section.get("retention-in-memory", "48h"), "metric-store.retention-in-memory")
        cap = section.get("memory-cap", 0)
        if isinstance(cap, bool) or not isinstance(cap, int | float) or cap < 0:
            raise ConfigurationError("metric-store.memory-cap must be a number of GB, 0 for none")
        interval = seconds(
            section.get("checkpoint-interval") or checkpoints.get("interval") or "15m",
            "metric-store.checkpoint-interval",
        )
        mode = cleanup.get("mode", "delete")
        if mode not in ("delete", "archive"):
            raise ConfigurationError("metric-store.cleanup.mode must be delete or archive")
        directory = str(cleanup.get("directory", ""))
        if mode == "archive" and not directory:
            raise ConfigurationError("metric-store.cleanup.directory is needed for the mode archive")
        subscriptions = section.get("nats-subscriptions") or []
        if not isinstance(subscriptions, list):
            raise ConfigurationError("metric-store.nats-subscriptions must be a list")
        resampling = _section(main, "resampling", "main.")
        return cls(
            retention=int(retention) if retention > 0 else _FOR_EVER,
            memory_cap=int(cap * 1_000_000_000),
            checkpoint_interval=_capped(interval),
            checkpoint_directory=str(checkpoints.get("directory") or CHECKPOINT_DIRECTORY),
            cleanup_mode=mode,
            cleanup_directory=directory,
            subscriptions=tuple(_subscription(item, i) for i, item in enumerate(subscriptions)),
            nats=NatsConnection(
                str(nats.get("address", "")),
                str(nats.get("username", "")),
                str(nats.get("password", "")),
                str(nats.get("creds-file-path", "")),
            ),
            metrics=_section(document, "metrics") or None,
            minimum_points=int(resampling.get("minimum-points") or resampling.get("minimumPoints") or 0),
        )

    @classmethod
    def of(cls, configuration: Configuration) -> StoreConfiguration:
        """What a site's checked configuration says; any spelling of its keys has become one there."""
        store = configuration.metric_store or MetricStore()
        resampling = configuration.main.resampling
        return cls(
            retention=int(store.retention_in_memory) or _FOR_EVER,
            memory_cap=store.memory_cap_bytes,
            checkpoint_interval=_capped(store.checkpoint_interval),
            checkpoint_directory=store.checkpoints.directory or CHECKPOINT_DIRECTORY,
            cleanup_mode=store.cleanup.mode,
            cleanup_directory=store.cleanup.directory,
            subscriptions=tuple(
                Subscription(s.subscribe_to, s.cluster_tag) for s in store.nats_subscriptions
            ),
            nats=NatsConnection(
                configuration.nats.address,
                configuration.nats.username,
                configuration.nats.password,
                configuration.nats.creds_file_path,
            ),
            minimum_points=0 if resampling is None else resampling.effective_minimum_points,
        )

    @classmethod
    def read(cls, place: Place | None, whole: Callable[[], Configuration]) -> StoreConfiguration:
        """Of a store by itself (its document has a section `metrics`, and needs no `main`) the sections it
        takes; otherwise what the site's `whole` configuration says. ConfigurationError."""
        content = place.read(place.main) if place is not None else None
        if place is None or content is None:
            return cls.of(whole())
        file = place.describe(place.main)
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise ConfigurationError(f"{file} is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise ConfigurationError(f"{file} must hold a JSON object")
        if "metrics" not in document:
            return cls.of(whole())
        faults: list[str] = []
        # The names of metrics are no keys: they stay as written
        others = {name: value for name, value in document.items() if name != "metrics"}
        unified = spelling.unified(others, At(file, "", faults, []))
        if faults:
            raise ConfigurationError("\n".join(faults))
        return cls.from_document({**unified, "metrics": document["metrics"]})


def _capped(interval: float) -> float:
    return min(interval, LONGEST_CHECKPOINT_INTERVAL) if interval > 0 else LONGEST_CHECKPOINT_INTERVAL


def seconds(text: object, key: str) -> float:
    """A duration such as `1h30m` in seconds. ConfigurationError names the key."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{key} must be a duration such as 48h")
    rest = text.strip().removeprefix("+")
    sign = -1.0 if rest.startswith("-") else 1.0
    rest = rest.removeprefix("-")
    if rest == "0":
        return 0.0
    total, position = 0.0, 0
    for part in _PART.finditer(rest):
        if part.start() != position:
            break
        total += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if not rest or position != len(rest):
        raise ConfigurationError(f"{key}: {text!r} is no duration such as 48h or 1h30m")
    return sign * total


def _section(document: Mapping[str, Any], key: str, prefix: str = "") -> Mapping[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{prefix}{key} must be an object")
    return value


def _subscription(item: object, index: int) -> Subscription:
    where = f"metric-store.nats-subscriptions[{index}]"
    if (
        not isinstance(item, dict)
        or not isinstance(item.get("subscribe-to"), str)
        or not item["subscribe-to"]
    ):
        raise ConfigurationError(f"{where}.subscribe-to must be a subject")
    return Subscription(item["subscribe-to"], str(item.get("cluster-tag") or ""))
