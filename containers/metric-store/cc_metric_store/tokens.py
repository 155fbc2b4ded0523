"""Who may use the store: bearers of a token that the installation signed, checked with its public key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from clustercockpit.access.model import Role
from clustercockpit.errors import ForbiddenError, NotAuthenticatedError

if TYPE_CHECKING:
    from clustercockpit.access.tokens import TokenVerifier

_REMEMBERED = 1024


class TokenGate:
    """Checks `Authorization: Bearer` or `X-Auth-Token`; `verifier` None lets everybody in."""

    def __init__(self, verifier: TokenVerifier | None, clock: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._clock = clock
        self._good: dict[str, float] = {}  # token → when it must be looked at again

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises NotAuthenticatedError without a good token, ForbiddenError if it lacks the role `api`."""
        if self._verifier is None:
            return
        token = _token(headers)
        now = self._clock()
        if self._good.get(token, 0.0) > now:
            return
        verified = self._verifier.verify(token)
        # A site's own token may carry no roles at all; one that does was made for a person or a program
        if (verified.user.roles or verified.user.unknown_roles) and not verified.user.has(Role.API):
            raise ForbiddenError("the token's bearer lacks the role api")
        if len(self._good) >= _REMEMBERED:
            self._good.clear()
        self._good[token] = min(now + 300, verified.expires or now + 300)


def _token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    bearer = ""
    for name, value in headers:
        if name == b"x-auth-token":
            return value.decode("latin-1")
        if name == b"authorization":
            kind, _, text = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer":
                bearer = text.strip()
    if not bearer:
        raise NotAuthenticatedError("no token: send Authorization: Bearer TOKEN")
    return bearer
