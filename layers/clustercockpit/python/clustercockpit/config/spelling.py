"""One spelling for every key: the seed's, v1.5.4's and older ones all become lower-case words with dashes.

The first two give no warning; spellings from before 1.5 give one each.
"""

from __future__ import annotations

import re
from typing import Any

from clustercockpit.config.reading import At, Section

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# Flat layout before 1.5: keys of `main` at the top
_MAIN_KEYS = (
    "addr",
    "user",
    "group",
    "https-cert-file",
    "https-key-file",
    "short-running-jobs-duration",
    "emission-constant",
    "stop-jobs-exceeding-walltime",
    "session-max-age",
    "validate",
    "db",
    "embed-static-files",
    "static-files",
    "disable-authentication",
    "redirect-http-to",
    "machine-state-dir",
    "api-allowed-ips",
    "resampling",
    "enable-resampling",
)
_AUTH_KEYS = ("jwts", "ldap", "oidc")


def canonical(name: str) -> str:
    """`user_base`, `User-Base`, `userBase` are `user-base`; `apiAllowedIPs` is `api-allowed-ips`."""
    return _HUMP.sub("-", name).replace("_", "-").lower()


def unified(value: Any, at: At) -> Any:
    """The document with canonical keys at every level. Two spellings of one key must agree."""
    if isinstance(value, list):
        return [unified(entry, at.item(i)) for i, entry in enumerate(value)]
    if not isinstance(value, dict):
        return value
    entries: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for written, entry in value.items():
        name = canonical(written)
        content = unified(entry, at.key(written))
        if name in entries:
            if entries[name] != content:
                at.key(written).fault(f"contradicts {spelled[name]}, which means the same: keep one of them")
            continue
        if _HUMP.search(written):
            at.key(written).warning(f"old spelling; write {name}")
        entries[name] = content
        spelled[name] = written
    return Section(entries, spelled, at.file)


def modern(document: Section, at: At) -> None:
    """Move what older versions kept elsewhere to where it is now, in place."""
    for name in _MAIN_KEYS:
        if name in document:
            _move(document, name, "main", "resampling" if name == "enable-resampling" else name, at)
    for name in _AUTH_KEYS:
        if name in document:
            _move(document, name, "auth", name, at)
    main = document.get("main")
    if isinstance(main, Section):
        _rename(main, "enable-resampling", "resampling", at.key("main"))
        _ignored(main, "disable-archive", "has had no effect since 1.5", at.key("main"))
    nodestate = document.pop("nodestate", None)
    if isinstance(nodestate, Section) and isinstance(nodestate.get("retention"), Section):
        retention = nodestate["retention"]
        _rename(retention, "archive-path", "target-path", at.key("nodestate.retention"))
        if retention.get("policy") == "archive":
            retention["policy"] = "move"
        at.key("nodestate.retention").warning("old place; write main.nodestate-retention")
        _child(document, "main").setdefault("nodestate-retention", retention)
    store = document.get("metric-store")
    if isinstance(store, Section):
        _modern_store(store, at.key("metric-store"))
    archive = document.get("archive")
    if isinstance(archive, Section) and isinstance(archive.get("retention"), Section):
        _located(archive["retention"], at.key("archive.retention"))


def _modern_store(store: Section, at: At) -> None:
    checkpoints = store.get("checkpoints")
    if isinstance(checkpoints, Section) and "interval" in checkpoints:
        interval = checkpoints.pop("interval")
        at.key("checkpoints.interval").warning("old place; write metric-store.checkpoint-interval")
        store.setdefault("checkpoint-interval", interval)
    cleanup = store.get("cleanup")
    if isinstance(cleanup, Section):
        _ignored(cleanup, "interval", "has no effect: it is always retention-in-memory", at.key("cleanup"))
    old = store.pop("archive", None)
    if isinstance(old, Section):
        at.key("archive").warning("old section; write cleanup with mode archive")
        content = {"mode": "archive", "directory": old.get("directory")}
        store.setdefault("cleanup", Section(content, {}, store.file))


def _located(retention: Section, at: At) -> None:
    """`location` is `target-kind` and `target-path`, or with s3:// the bucket and the prefix."""
    _rename(retention, "target-format", "format", at, quiet=True)
    location = retention.pop("location", None)
    if location is None:
        return
    if not isinstance(location, str) or not location:
        at.key("location").fault("expected a directory, or s3://bucket/prefix")
        return
    meant = {"target-kind": "file", "target-path": location}
    if location.startswith("s3://"):
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        meant = {"target-kind": "s3", "target-bucket": bucket, "target-path": prefix}
    for name, value in meant.items():
        if retention.get(name) not in (None, value):
            at.key("location").fault(f"contradicts {retention.spelled.get(name, name)}: keep one of them")
        retention[name] = value


def _child(document: Section, name: str) -> Section:
    child = document.setdefault(name, Section({}, {}, document.file))
    return child if isinstance(child, Section) else Section({}, {}, document.file)


def _move(document: Section, name: str, to: str, as_name: str, at: At) -> None:
    value = document.pop(name)
    target = _child(document, to)
    at.key(document.spelled.get(name, name)).warning(f"old place; write {to}.{as_name}")
    if as_name in target and target[as_name] != value:
        at.key(name).fault(f"contradicts {to}.{as_name}: keep one of them")
    target[as_name] = value


def _rename(section: Section, old: str, new: str, at: At, *, quiet: bool = False) -> None:
    if old not in section:
        return
    value = section.pop(old)
    if not quiet:
        at.key(section.spelled.get(old, old)).warning(f"old name; write {new}")
    if section.get(new) not in (None, value):
        at.key(old).fault(f"contradicts {new}, which means the same: keep one of them")
    section[new] = value


def _ignored(section: Section, name: str, why: str, at: At) -> None:
    if section.pop(name, None) is not None:
        at.key(section.spelled.get(name, name)).warning(why)
