"""What the configuration asks for that is not active yet.

A key that guards something must not be accepted in silence: start-up fails, unless it was started with the
switch that says so. Keys of later features are accepted and named once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clustercockpit.errors import ConfigurationError

if TYPE_CHECKING:
    from clustercockpit.config.configuration import Configuration

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inactive:
    """`guards`: what goes unguarded while the key has no effect; empty for a key that guards nothing."""

    key: str
    sentence: str
    guards: str = ""


_Test = Callable[["Configuration"], bool]

_ENTRIES: tuple[tuple[_Test, Inactive], ...] = (
    (
        lambda c: c.auth.ldap is not None,
        Inactive(
            "auth.ldap",
            "log-in by LDAP and the sync of its users are not active yet; nobody could log in through them",
            "authentication",
        ),
    ),
    (
        lambda c: c.auth.oidc is not None,
        Inactive("auth.oidc", "log-in by OpenID Connect is not active yet", "authentication"),
    ),
    (
        lambda c: bool(c.auth.jwts.cookie_name or c.auth.jwts.trusted_issuer),
        Inactive(
            "auth.jwts.cookie-name, auth.jwts.trusted-issuer",
            "log-in by another portal's token is not active yet",
            "authentication",
        ),
    ),
    (
        lambda c: c.archive.retention is not None and c.archive.retention.policy != "none",
        Inactive(
            "archive.retention", "old jobs are not yet copied, moved or deleted", "retention of the archive"
        ),
    ),
    (
        lambda c: c.main.nodestate_retention is not None,
        Inactive(
            "main.nodestate-retention",
            "old node states are not yet moved or deleted by this key",
            "retention of node states",
        ),
    ),
    (lambda c: c.main.enable_job_taggers, Inactive("main.enable-job-taggers", "jobs are not tagged yet")),
    (
        lambda c: c.main.stop_jobs_exceeding_walltime > 0,
        Inactive("main.stop-jobs-exceeding-walltime", "jobs over their wall time are not ended yet"),
    ),
    (
        lambda c: c.main.validate,
        Inactive("main.validate", "archive documents are always checked as they are read"),
    ),
    (
        lambda c: bool(c.main.machine_state_dir),
        Inactive("main.machine-state-dir", "machine states are not kept yet"),
    ),
    (
        lambda c: bool(c.main.redirect_http_to),
        Inactive("main.redirect-http-to", "no second listener is opened; let the proxy or gateway redirect"),
    ),
    (
        lambda c: not c.main.embed_static_files,
        Inactive("main.embed-static-files", "the browser application comes from CC_WEB_ROOT"),
    ),
    (
        lambda c: "main.db" in c.given or "main.db-config" in c.given,
        Inactive("main.db, main.db-config", "there is no SQLite database here; the data is in DynamoDB"),
    ),
    (
        lambda c: "cron.duration-worker" in c.given,
        Inactive("cron.duration-worker", "durations of running jobs are computed when they are read"),
    ),
)


def refuse_inactive(configuration: Configuration, *, accept: bool) -> None:
    """Log what has no effect, once. ConfigurationError for what guards something, unless it is accepted."""
    refused = []
    for entry in inactive(configuration):
        if not entry.guards:
            log.info("%s has no effect: %s", entry.key, entry.sentence)
        elif accept:
            log.warning("%s has no effect, and that was accepted: %s", entry.key, entry.sentence)
        else:
            refused.append(f"{entry.key}: {entry.sentence} ({entry.guards} would be missing without a word)")
    if refused:
        remedy = "remove the keys, or start with -accept-inactive (CC_ACCEPT_INACTIVE_KEYS=1)"
        raise ConfigurationError("\n".join([*refused, remedy]))


def inactive(configuration: Configuration) -> list[Inactive]:
    """What the configuration asks for in vain, those that guard something first."""
    found = [entry for test, entry in _ENTRIES if test(configuration)]
    return sorted(found, key=lambda entry: not entry.guards)
