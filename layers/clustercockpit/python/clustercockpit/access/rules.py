"""Who may reach what: rules as data, asked by the HTTP door, GraphQL and the pages.

A rule names the credentials a group of routes takes and the role combinations that are enough. The door
(`http.door`) reaches no route that has no rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clustercockpit.access.model import Role, User


class Credential(StrEnum):
    TOKEN = "token"  # noqa: S105 — X-Auth-Token, or Authorization: Bearer
    COOKIE = "cookie"  # the login session


class AddressFilter(StrEnum):
    """Which list of the configuration restricts the caller's address."""

    NONE = "none"
    API = "main.api-allowed-ips"
    METRICS = "main.metric-allowed-ips"


@dataclass(frozen=True, slots=True)
class RoleTest:
    """One combination of roles that is enough. Works on role *sets*: a role named twice counts once."""

    exactly: frozenset[Role] | None = None
    all_of: frozenset[Role] = frozenset()
    any_of: frozenset[Role] = frozenset()

    def admits(self, user: User) -> bool:
        if self.exactly is not None:
            return user.roles == self.exactly and not user.unknown_roles
        return self.all_of <= user.roles and (not self.any_of or bool(self.any_of & user.roles))


@dataclass(frozen=True, slots=True)
class Rule:
    """`credentials` in the order they are looked at, none means public; `roles` empty means any login."""

    name: str
    credentials: tuple[Credential, ...]
    roles: tuple[RoleTest, ...] = ()
    addresses: AddressFilter = AddressFilter.NONE
    # What someone without a credential is told, in the reference's words.
    missing: str = "unauthorized"

    @property
    def public(self) -> bool:
        return not self.credentials

    def admits(self, user: User) -> bool:
        return not self.roles or any(test.admits(user) for test in self.roles)


_API = frozenset({Role.API})
_ADMIN_AND_API = RoleTest(all_of=frozenset({Role.ADMIN, Role.API}))
_API_ALONE = RoleTest(exactly=_API)

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("public", ()),
        # Pages, /query, /search: any login, by token first (a bad token is final), then by session.
        Rule("pages", (Credential.TOKEN, Credential.COOKIE)),
        Rule(
            "main-api",
            (Credential.TOKEN,),
            (_API_ALONE, _ADMIN_AND_API),
            AddressFilter.API,
            missing="no user for secured check",
        ),
        Rule("metric-store-api", (Credential.TOKEN,), (_API_ALONE, _ADMIN_AND_API), AddressFilter.METRICS),
        # `auth.legacy-metric-roles: true` puts this in place of `metric-store-api`.
        Rule(
            "metric-store-api-legacy",
            (Credential.TOKEN,),
            (_API_ALONE, RoleTest(all_of=_API, any_of=frozenset({Role.USER, Role.MANAGER, Role.ADMIN}))),
            AddressFilter.METRICS,
        ),
        Rule(
            "user-api",
            (Credential.TOKEN,),
            (
                _API_ALONE,
                RoleTest(
                    all_of=_API,
                    any_of=frozenset({Role.USER, Role.MANAGER, Role.SUPPORT, Role.ADMIN}),
                ),
            ),
        ),
        Rule("config", (Credential.COOKIE,), (RoleTest(all_of=frozenset({Role.ADMIN})),)),
        Rule("frontend", (Credential.COOKIE,)),
    )
}


class Capability(StrEnum):
    """What a person may do beyond seeing jobs (`spec/configuration-and-auth.md` 9.3)."""

    NODES = "nodes"  # node lists, states, node and cluster metrics
    RESTRICTED_METRICS = "restricted-metrics"
    OTHER_PEOPLES_NAMES = "other-peoples-names"
    SEARCH_PEOPLE = "search-people"
    GLOBAL_TAGS = "global-tags"  # create, attach, detach tags of scope `global`
    ADMIN_TAGS = "admin-tags"
    SEE_ADMIN_TAGS = "see-admin-tags"
    DELETE_SHARED_TAGS = "delete-shared-tags"
    ADMINISTRATION = "administration"  # accounts, notice, tagger runs, logs, anyone's token


_SUPPORT = frozenset({Role.SUPPORT, Role.ADMIN})
_MANAGER = _SUPPORT | {Role.MANAGER}
_ADMIN = frozenset({Role.ADMIN})

# Someone with any of these roles has the capability: the highest role decides, a lower one beside it
# takes nothing away.
CAPABILITIES: dict[Capability, frozenset[Role]] = {
    Capability.NODES: _SUPPORT,
    Capability.RESTRICTED_METRICS: _SUPPORT,
    Capability.OTHER_PEOPLES_NAMES: _MANAGER,
    Capability.SEARCH_PEOPLE: _MANAGER,
    Capability.GLOBAL_TAGS: _SUPPORT,
    Capability.ADMIN_TAGS: _ADMIN,
    Capability.SEE_ADMIN_TAGS: _SUPPORT,
    Capability.DELETE_SHARED_TAGS: _ADMIN,
    Capability.ADMINISTRATION: _ADMIN,
}

# What a machine account (role `api` alone) may do beside reading every job.
API_ACCOUNT_CAPABILITIES = frozenset(
    {
        Capability.RESTRICTED_METRICS,
        Capability.GLOBAL_TAGS,
        Capability.ADMIN_TAGS,
        Capability.DELETE_SHARED_TAGS,
    }
)


def may(user: User, capability: Capability) -> bool:
    if user.api_only:
        return capability in API_ACCOUNT_CAPABILITIES
    return bool(user.roles & CAPABILITIES[capability])
