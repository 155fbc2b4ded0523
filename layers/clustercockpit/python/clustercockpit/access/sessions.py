"""The login session: a signed cookie that carries the user, and a per-user epoch that ends it early.

Nothing is stored for a session. The cookie holds who logged in, when it ends, and the epoch the user had
then; raising the user's epoch (logout everywhere, deletion, a change of roles) ends every older session
within the time the epoch may be cached.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from itsdangerous import BadData, URLSafeSerializer

from clustercockpit.access.model import AuthSource, User, split_roles

COOKIE = "session"
MAX_COOKIE_CHARACTERS = 3_500
EPOCH_CACHE_SECONDS = 60


class Epochs(Protocol):
    """Per-user counters, absent means 0. Also keeps the projects that do not fit into a cookie."""

    def epoch(self, username: str) -> int: ...

    def raise_epoch(self, username: str) -> int: ...

    def keep_projects(self, username: str, projects: Sequence[str]) -> None: ...

    def kept_projects(self, username: str) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class Session:
    """`issued`, `expires` in Unix seconds; `expires` None means never."""

    user: User
    issued: int
    expires: int | None
    epoch: int


class SessionCookies:
    """Writes and reads the value of the cookie. `keys`: newest first; `max_age` in seconds, None for ever."""

    def __init__(
        self,
        keys: Sequence[bytes],
        max_age: int | None,
        epochs: Epochs,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # The serializer wants the newest key last.
        self._serializer = URLSafeSerializer(
            list(reversed(keys)),
            salt="clustercockpit.session",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )
        self.max_age = max_age
        self._epochs = epochs
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def start(self, user: User) -> str:
        """The cookie's value for a fresh login."""
        now = int(self._clock())
        content: dict[str, Any] = {
            "u": user.username,
            "n": user.name,
            "r": sorted(user.roles),
            "p": sorted(user.projects),
            "s": int(user.source),
            "i": now,
            "e": self._epochs.epoch(user.username),
        }
        if self.max_age is not None:
            content["x"] = now + self.max_age
        value = self._dumps(content)
        if len(value) > MAX_COOKIE_CHARACTERS:
            self._epochs.keep_projects(user.username, sorted(user.projects))
            del content["p"]
            value = self._dumps(content)
        return value

    def _dumps(self, content: dict[str, Any]) -> str:
        value = self._serializer.dumps(content)
        return value if isinstance(value, str) else value.decode()

    def read(self, value: str) -> Session | None:
        """Whose session it is, or None: expired, revoked, forged, of another key, or of another program.
        A cookie we cannot read is no session, never an error."""
        if len(value) > 2 * MAX_COOKIE_CHARACTERS:
            return None
        try:
            content = self._serializer.loads(value)
            session = _session(content)
        except (BadData, KeyError, TypeError, ValueError):
            return None
        now = self._clock()
        if self._too_old(session, now) or not session.user.roles:
            return None
        if self._epoch(session.user.username, now) != session.epoch:
            return None
        if "p" not in content:
            projects = self._epochs.kept_projects(session.user.username)
            user = session.user
            user = User(user.username, user.roles, projects, user.name, user.email, user.source)
            return Session(user, session.issued, session.expires, session.epoch)
        return session

    def _too_old(self, session: Session, now: float) -> bool:
        if session.expires is not None and now >= session.expires:
            return True
        # A site that shortens `session-max-age` means the sessions it has as well.
        return self.max_age is not None and now >= session.issued + self.max_age

    def _epoch(self, username: str, now: float) -> int:
        cached = self._seen.get(username)
        if cached is not None and 0 <= now - cached[0] < EPOCH_CACHE_SECONDS:
            return cached[1]
        epoch = self._epochs.epoch(username)
        if len(self._seen) > 10_000:
            self._seen.clear()
        self._seen[username] = (now, epoch)
        return epoch

    def epoch_of(self, username: str) -> int:
        """The user's epoch, at most a minute old."""
        return self._epoch(username, self._clock())

    def revoke(self, username: str) -> None:
        """End all of the user's sessions."""
        self._seen[username] = (self._clock(), self._epochs.raise_epoch(username))


def _session(content: Any) -> Session:
    known, unknown = split_roles(content["r"])
    user = User(
        username=_text(content["u"]),
        roles=known,
        projects=frozenset(_text(project) for project in content.get("p", ())),
        name=_text(content["n"], empty=True),
        source=AuthSource(content["s"]),
        unknown_roles=unknown,
    )
    expires = content.get("x")
    return Session(user, int(content["i"]), int(expires) if expires is not None else None, int(content["e"]))


def _text(value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str) or (not value and not empty):
        raise ValueError("no text")
    return value
