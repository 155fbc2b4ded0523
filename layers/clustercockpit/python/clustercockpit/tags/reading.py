"""Which tags someone may read."""

from __future__ import annotations

from collections.abc import Iterable

from clustercockpit.access.model import User
from clustercockpit.access.rules import Capability, may
from clustercockpit.jobs.model import Tag

GLOBAL = "global"
ADMIN = "admin"


def readable(user: User, tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """Those of the tags the user may read: global ones, those for administrators if the user may see them,
    and their own private ones."""
    scopes = {GLOBAL, user.username}
    if may(user, Capability.SEE_ADMIN_TAGS):
        scopes.add(ADMIN)
    else:
        scopes.discard(ADMIN)  # also from an account of that name
    return tuple(tag for tag in tags if tag.scope in scopes)
