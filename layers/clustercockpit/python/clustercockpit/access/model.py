"""Who is calling, and what they may see. The rules themselves are data in `access.rules`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from clustercockpit.errors import ForbiddenError
from clustercockpit.jobs.model import Job


class Role(StrEnum):
    ANONYMOUS = "anonymous"
    API = "api"
    USER = "user"
    MANAGER = "manager"
    SUPPORT = "support"
    ADMIN = "admin"

    @property
    def level(self) -> int:
        """The reference's auth level: anonymous 0 … admin 5."""
        return list(Role).index(self)


class AuthSource(IntEnum):
    LOCAL = 0
    LDAP = 1
    TOKEN = 2
    OIDC = 3


def split_roles(names: Iterable[object]) -> tuple[frozenset[Role], frozenset[str]]:
    """Known roles and unknown names among `names`; case does not matter, what is no text is dropped."""
    texts = {name.lower() for name in names if isinstance(name, str)}
    known = frozenset(role for role in Role if role.value in texts)
    return known, frozenset(texts - {role.value for role in Role})


@dataclass(frozen=True, slots=True)
class User:
    """An account or a token's bearer (who may have no account)."""

    username: str
    roles: frozenset[Role] = frozenset()
    projects: frozenset[str] = frozenset()
    name: str = ""
    email: str = ""
    source: AuthSource = AuthSource.LOCAL
    # Names a token carries that we do not know: they grant nothing, but someone with the role `api` and an
    # unknown one is not a pure machine account (the reference counts them as well).
    unknown_roles: frozenset[str] = frozenset()

    def has(self, *roles: Role) -> bool:
        """True if the user has any of the roles."""
        return bool(self.roles & set(roles))

    @property
    def api_only(self) -> bool:
        """True for a machine account: the role `api` and nothing else."""
        return self.roles == {Role.API} and not self.unknown_roles

    @property
    def level(self) -> int:
        """The highest role's level; 6 for someone without a known role."""
        return max((role.level for role in self.roles), default=6)


@dataclass(frozen=True, slots=True)
class JobVisibility:
    """Which jobs someone may see: everything, or their own and those of their projects. A value, so that
    the index turns it into a predicate and a store applies it to a row."""

    everything: bool = False
    username: str = ""
    projects: frozenset[str] = frozenset()

    def admits(self, job: Job) -> bool:
        return self.everything or job.user == self.username or job.project in self.projects

    @classmethod
    def of(cls, user: User) -> JobVisibility:
        """`spec/rest-and-nats-api.md` 3.5. Raises ForbiddenError for a user without a known role."""
        if user.api_only or user.has(Role.ADMIN, Role.SUPPORT):
            return cls(everything=True)
        if user.has(Role.MANAGER):
            return cls(username=user.username, projects=user.projects)
        if user.has(Role.USER):
            return cls(username=user.username)
        raise ForbiddenError("user has no or unknown roles")
