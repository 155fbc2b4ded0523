"""An account: what is kept about someone who can log in."""

from __future__ import annotations

from dataclasses import dataclass, field

from clustercockpit.access.model import AuthSource, Role, User
from clustercockpit.errors import InvalidInputError

MAX_USERNAME_BYTES = 100


@dataclass(frozen=True, slots=True)
class Account:
    """A stored user. `created` and `updated` are Unix seconds; `version` counts the changes."""

    username: str
    roles: frozenset[Role] = frozenset()
    # Kept in the order they were given: they are shown so
    projects: tuple[str, ...] = ()
    name: str = ""
    email: str = ""
    source: AuthSource = AuthSource.LOCAL
    password_hash: str = field(default="", repr=False)
    created: int = 0
    updated: int = 0
    version: int = 0

    def user(self) -> User:
        return User(
            username=self.username,
            roles=self.roles,
            projects=frozenset(self.projects),
            name=self.name,
            email=self.email,
            source=self.source,
        )


def valid_username(username: str) -> str:
    """The name, if it can be one. InvalidInputError: 1 to 100 bytes, printable, no spaces around it."""
    if not 1 <= len(username.encode()) <= MAX_USERNAME_BYTES:
        raise InvalidInputError(f"username must have 1 to {MAX_USERNAME_BYTES} bytes")
    if not username.isprintable() or username != username.strip():
        raise InvalidInputError("username must be printable text without spaces around it")
    return username


def assignable_role(text: str) -> Role:
    """A role that can be given. InvalidInputError naming the roles there are."""
    assignable = [role for role in Role if role is not Role.ANONYMOUS]
    for role in assignable:
        if role.value == text.strip().lower():
            return role
    names = ", ".join(role.value for role in assignable)
    raise InvalidInputError(f"unknown role {text[:40]!r}; roles are {names}")
