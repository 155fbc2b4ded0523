"""Who may see and set tags of which scope (`spec/rest-and-nats-api.md` 4.8)."""

from __future__ import annotations

from clustercockpit.access.model import User
from clustercockpit.access.rules import Capability, may

GLOBAL = "global"
ADMIN = "admin"


def readable(scope: str, user: User) -> bool:
    """Global tags are everyone's, admin tags the support's, others their owner's."""
    if scope == GLOBAL:
        return True
    if scope == ADMIN:
        return may(user, Capability.SEE_ADMIN_TAGS)
    return scope == user.username


def may_write(scope: str, user: User) -> bool:
    """Whether the user may create tags of this scope, and attach and detach them."""
    if scope == GLOBAL:
        return may(user, Capability.GLOBAL_TAGS)
    if scope == ADMIN:
        return may(user, Capability.ADMIN_TAGS)
    return bool(user.username) and scope == user.username
