"""Turns a credential into a user."""

from __future__ import annotations

import time
from collections.abc import Callable

from clustercockpit.access.model import AuthSource, Role, User
from clustercockpit.access.policy import AccessPolicy
from clustercockpit.access.sessions import SessionCookies
from clustercockpit.access.tokens import TokenVerifier
from clustercockpit.errors import NotAuthenticatedError

# What stands in for everyone where a site has switched authentication off.
NOBODY_IN_PARTICULAR = User(
    username="administrator",
    roles=frozenset({Role.ADMIN, Role.API}),
    name="Authentication is switched off",
    source=AuthSource.LOCAL,
)
TOKEN_CACHE_SECONDS = 60
_TOKEN_CACHE_SIZE = 512


class Authentication:
    """The installation's view of tokens and sessions. `account` looks a username up in the user store."""

    def __init__(
        self,
        policy: Callable[[], AccessPolicy],
        tokens: TokenVerifier,
        sessions: Callable[[], SessionCookies],
        account: Callable[[str], User | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._tokens = tokens
        self._sessions = sessions
        self._account = account
        self._clock = clock
        self._verified: dict[str, tuple[float, User]] = {}

    @property
    def policy(self) -> AccessPolicy:
        return self._policy()

    @property
    def sessions(self) -> SessionCookies:
        """ConfigurationError if SESSION_KEY is missing or short."""
        return self._sessions()

    def remembered_bearer(self, token: str) -> User | None:
        """The user of a token that was verified a moment ago. Never blocks."""
        hit = self._verified.get(token)
        return hit[1] if hit is not None and self._clock() < hit[0] else None

    def bearer(self, token: str) -> User:
        """The user of an API token. NotAuthenticatedError."""
        hit = self.remembered_bearer(token)
        if hit is not None:
            return hit
        verified = self._tokens.verify(token)
        user = verified.user
        if self.policy.validate_user:
            account = self._account(user.username)
            if account is None:
                raise NotAuthenticatedError("unknown user")
            user = account
        until = self._clock() + TOKEN_CACHE_SECONDS
        if verified.expires is not None:
            until = min(until, verified.expires)
        if len(self._verified) >= _TOKEN_CACHE_SIZE:
            self._verified.clear()
        self._verified[token] = (until, user)
        return user

    def session(self, cookie: str) -> User | None:
        """The user of a login session, or None where the cookie holds none."""
        if not cookie:
            return None
        session = self.sessions.read(cookie)
        return session.user if session is not None else None
