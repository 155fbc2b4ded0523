"""The configuration of a site: `config.json` understood, checked, with every default filled in."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from clustercockpit.access.policy import AccessPolicy
from clustercockpit.config import spelling
from clustercockpit.config.reading import At, Section, array, named, read_section, section
from clustercockpit.config.sections import (
    Archive,
    Auth,
    Cron,
    ExternalStore,
    Main,
    MetricStore,
    Nats,
)
from clustercockpit.config.ui import ui_defaults
from clustercockpit.errors import ConfigurationError

SECTIONS = ("main", "auth", "nats", "cron", "archive", "metric-store", "metric-store-external", "ui")
# A misspelt key in these would switch something off that the site counts on.
STRICT = frozenset({"main", "auth", "metric-store", "metric-store-external"})

ReadReference = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Configuration:
    """All sections. `given` names the keys the documents hold, as `section.key`; `warnings` go to the log."""

    main: Main = field(default_factory=Main)
    auth: Auth = field(default_factory=Auth)
    nats: Nats = field(default_factory=Nats)
    cron: Cron = field(default_factory=Cron)
    archive: Archive = field(default_factory=lambda: Archive(path="./var/job-archive"))
    metric_store: MetricStore | None = None
    external_stores: tuple[ExternalStore, ...] = ()
    ui: dict[str, Any] = field(default_factory=lambda: ui_defaults({}))
    given: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @cached_property
    def access_policy(self) -> AccessPolicy:
        def whole(seconds: float | None) -> int | None:
            return None if seconds is None else int(seconds)

        return AccessPolicy(
            authentication_disabled=self.main.disable_authentication,
            validate_user=self.auth.jwts.validate_user,
            token_max_age=whole(self.auth.jwts.max_age),
            session_max_age=whole(self.main.session_max_age),
            api_allowed=self.main.api_allowed_ips,
            metric_allowed=self.main.metric_allowed_ips,
            legacy_metric_roles=self.auth.legacy_metric_roles,
            trusted_proxies=self.main.trusted_proxies,
            strict_transport_security=self.main.strict_transport_security,
        )


def parse(content: bytes, file: str, reference: ReadReference) -> Configuration:
    """Understand a configuration document. `reference(path)` gives the content of a file that the document
    names (`ui-file` and the like), None if there is none.

    Raises ConfigurationError that lists every fault with file, key and remedy, never with a value.
    """
    faults: list[str] = []
    warnings: list[str] = []
    at = At(file, "", faults, warnings)
    document = spelling.unified(_json(content, file), at)
    if not isinstance(document, Section):
        raise ConfigurationError(f"{file}: expected a JSON object, got {named(document)}")
    _resolve_references(document, at, reference)
    spelling.modern(document, at)
    external = _legacy_clusters(document, at)
    given = frozenset(f"{name}.{key_}" for name in SECTIONS for key_ in (_entries(document.get(name)) or ()))

    def read(name: str, kind: Any) -> Any:
        value = document.get(name)
        if value is None:
            return kind()
        file_of = value.file if isinstance(value, Section) else file
        place = At(file_of, name, faults, warnings, strict=name in STRICT)
        return read_section(kind, value, place) or kind()

    for name in document:
        if name not in SECTIONS:
            at.key(document.spelled.get(name, name)).warning("unknown section, ignored")
    if document.get("main") is None:
        at.key("main").fault("this section is required")
    main: Main = read("main", Main)
    if document.get("auth") is None and not main.disable_authentication:
        at.key("auth").fault('this section is required; the least is {"jwts": {"max-age": "2000h"}}')
    archive = (
        read("archive", Archive) if document.get("archive") is not None else Archive(path="./var/job-archive")
    )
    configuration = Configuration(
        main=main,
        auth=read("auth", Auth),
        nats=read("nats", Nats),
        cron=read("cron", Cron),
        archive=archive,
        metric_store=read("metric-store", MetricStore) if document.get("metric-store") is not None else None,
        external_stores=_external(document, file, faults, warnings) + external,
        ui=_ui(document, main.short_running_jobs_duration, file, faults),
        given=given,
    )
    if faults:
        raise ConfigurationError("\n".join(faults))
    configuration = _apart(configuration, warnings)
    return dataclasses.replace(configuration, warnings=tuple(warnings))


def _json(content: bytes, file: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        # The message must not quote the document.
        raise ConfigurationError(
            f"{file}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None


def _resolve_references(document: Section, at: At, reference: ReadReference) -> None:
    for name in [n for n in document if n.endswith("-file") and n.removesuffix("-file") in SECTIONS]:
        part = name.removesuffix("-file")
        place = at.key(document.spelled[name])
        path = document.pop(name)
        if part in document:
            place.fault(f"both {part} and {name} are there: keep one of them")
        elif not isinstance(path, str) or not path:
            place.fault(f"expected the path of a file, got {named(path)}")
        else:
            content = reference(path)
            if content is not None:
                inner = At(path, part, at.faults, at.warnings)
                document[part] = spelling.unified(_json(content, path), inner)
                if isinstance(document[part], Section):
                    document[part].file = path
            elif part == "ui":
                place.warning(f"{path} does not exist; the built-in defaults hold")
            else:
                place.fault(f"{path} does not exist beside the configuration")


def _legacy_clusters(document: Section, at: At) -> tuple[ExternalStore, ...]:
    """The top-level `clusters` of old versions: its metric stores count, the rest is in the archive."""
    clusters = document.pop("clusters", None)
    if clusters is None:
        return ()
    at.key("clusters").warning("clusters come from the job archive since 1.5; only metric stores are taken")
    found = []
    for cluster in clusters if isinstance(clusters, list) else ():
        repository = cluster.get("metric-data-repository") if isinstance(cluster, Section) else None
        if isinstance(repository, Section) and repository.get("kind") == "cc-metric-store":
            parts = [cluster.get("name"), repository.get("url"), repository.get("token")]
            if all(isinstance(part, str) and part for part in parts):
                found.append(ExternalStore(scope=parts[0], url=parts[1], token=parts[2]))
    return tuple(found)


def _external(
    document: Section, file: str, faults: list[str], warnings: list[str]
) -> tuple[ExternalStore, ...]:
    value = document.get("metric-store-external")
    if value is None:
        return ()
    place = At(file, "metric-store-external", faults, warnings)
    try:
        stores: tuple[ExternalStore, ...] = array(section(ExternalStore), least=1)(value, place)
    except ValueError as error:
        place.fault(str(error))
        return ()
    return stores


def _ui(document: Section, short_job_seconds: int, file: str, faults: list[str]) -> dict[str, Any]:
    value = document.get("ui") or Section({}, {}, file)
    if not isinstance(value, Section):
        faults.append(f"{file}: ui: expected an object, got {named(value)}")
        return {}
    try:
        return ui_defaults(value, short_job_seconds=short_job_seconds)
    except ConfigurationError as error:
        faults.append(f"{value.file or file}: {error}")
        return {}


def _entries(value: Any) -> list[str] | None:
    return list(value) if isinstance(value, Section) else None


def _apart(configuration: Configuration, warnings: list[str]) -> Configuration:
    """Old jobs and old metrics in one directory would hide each other's files: give each its own."""
    retention, store = configuration.archive.retention, configuration.metric_store
    if retention is None or store is None or retention.target_kind != "file" or not store.cleanup.directory:
        return configuration
    if posixpath.normpath(retention.target_path) != posixpath.normpath(store.cleanup.directory):
        return configuration
    place = store.cleanup.directory
    warnings.append(
        f"archive.retention.location and metric-store.cleanup.directory are both {place}: "
        f"jobs go to {posixpath.join(place, 'jobs')}, metrics to {posixpath.join(place, 'metrics')}"
    )
    return dataclasses.replace(
        configuration,
        archive=dataclasses.replace(
            configuration.archive,
            retention=dataclasses.replace(retention, target_path=posixpath.join(place, "jobs")),
        ),
        metric_store=dataclasses.replace(
            store,
            cleanup=dataclasses.replace(store.cleanup, directory=posixpath.join(place, "metrics")),
        ),
    )
