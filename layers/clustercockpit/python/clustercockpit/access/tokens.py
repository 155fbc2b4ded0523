"""API tokens: EdDSA JWTs with the claims of the reference (`sub`, `roles`, `iat`, `exp`).

A token issued by a cc-backend installation with the same keys keeps working, and the other way round.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from clustercockpit.access.model import AuthSource, Role, User, split_roles
from clustercockpit.errors import NotAuthenticatedError, UnavailableError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LEEWAY_SECONDS = 30
MAX_TOKEN_CHARACTERS = 16_384
_OPTIONS: Any = {
    "verify_aud": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """`expires` in Unix seconds, None if the token never does."""

    user: User
    expires: float | None


class TokenSigner:
    """Issues tokens. `max_age` in seconds, None for tokens that never expire."""

    def __init__(
        self, key: Ed25519PrivateKey, max_age: int | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._max_age = max_age
        self._clock = clock

    def issue(self, user: User) -> str:
        """A token with the user's name and roles, never projects."""
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iat": now,
            "jti": secrets.token_urlsafe(12),
            "roles": sorted(user.roles, key=lambda role: -role.level),
            "sub": user.username,
        }
        if self._max_age is not None:
            claims["exp"] = now + self._max_age
        return jwt.encode(claims, self._key, algorithm="EdDSA")


class ServiceToken:
    """The token our own processes show the metric store: `sub=cc-functions`, role `api`. Valid for an hour,
    renewed after half of it."""

    LIFETIME = 3600

    def __init__(self, key: Ed25519PrivateKey, clock: Callable[[], float] = time.time) -> None:
        self._signer = TokenSigner(key, self.LIFETIME, clock)
        self._clock = clock
        self._current: tuple[str, float] | None = None

    def __call__(self) -> str:
        now = self._clock()
        if self._current is None or now >= self._current[1]:
            token = self._signer.issue(User("cc-functions", frozenset({Role.API})))
            self._current = (token, now + self.LIFETIME / 2)
        return self._current[0]


class TokenVerifier:
    """Checks tokens with the installation's public key."""

    def __init__(self, key: Ed25519PublicKey | None) -> None:
        self._key = key

    def verify(self, token: str) -> VerifiedToken:
        """Name and roles as the token says. NotAuthenticatedError with the reason."""
        if self._key is None:
            raise UnavailableError("tokens cannot be checked here: JWT_PUBLIC_KEY is not set")
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise NotAuthenticatedError("token is too long")
        try:
            claims = jwt.decode(
                token, self._key, algorithms=["EdDSA"], leeway=LEEWAY_SECONDS, options=_OPTIONS
            )
        except jwt.ExpiredSignatureError:
            raise NotAuthenticatedError("token is expired") from None
        except jwt.ImmatureSignatureError:
            raise NotAuthenticatedError("token is not valid yet") from None
        except jwt.InvalidAlgorithmError:
            raise NotAuthenticatedError("token is not signed with EdDSA") from None
        except jwt.InvalidSignatureError:
            raise NotAuthenticatedError("token signature is invalid") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise NotAuthenticatedError("token is malformed") from None
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise NotAuthenticatedError("missing 'sub' claim in JWT")
        named = claims.get("roles")
        known, unknown = split_roles(named if isinstance(named, list) else ())
        user = User(subject, known, source=AuthSource.TOKEN, unknown_roles=unknown)
        expires = claims.get("exp")
        return VerifiedToken(user, float(expires) if expires is not None else None)
