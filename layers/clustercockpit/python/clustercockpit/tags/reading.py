"""Which tags someone may read."""

from __future__ import annotations

from collections.abc import Iterable

from clustercockpit.access.model import User
from clustercockpit.jobs.model import Tag
from clustercockpit.tags.scopes import readable as scope_is_readable


def readable(user: User, tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """Those of the tags whose scope the user may read."""
    return tuple(tag for tag in tags if scope_is_readable(tag.scope, user))
