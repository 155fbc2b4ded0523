"""What one operation carries along: who asks, when, and what was looked up already."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, InlineFragmentNode, SelectionSetNode

from clustercockpit.access.model import JobVisibility, User
from clustercockpit.access.rules import Capability, may
from clustercockpit.errors import ForbiddenError

if TYPE_CHECKING:
    from clustercockpit.site import Site
    from clustercockpit.users.model import Account


class People:
    """Accounts by name, those of a whole page in one look-up."""

    def __init__(self, site: Site, user: User) -> None:
        self._site = site
        self._user = user
        self._accounts: dict[str, Account | None] = {}
        self._expected: set[str] = set()

    def expect(self, usernames: Iterable[str]) -> None:
        """These will be asked for: look them up together when the first one is."""
        self._expected.update(usernames)

    def account(self, username: str) -> Account | None:
        """None where there is no such account. ForbiddenError for others' accounts unless the user may."""
        if username != self._user.username and not may(self._user, Capability.OTHER_PEOPLES_NAMES):
            raise ForbiddenError("forbidden")
        if username not in self._accounts:
            wanted = (self._expected | {username}) - set(self._accounts)
            if not may(self._user, Capability.OTHER_PEOPLES_NAMES):
                wanted = {username}
            found = self._site.users.get_many(wanted)
            self._accounts.update({name: found.get(name) for name in wanted})
        return self._accounts[username]


@dataclass
class Context:
    site: Site
    user: User
    now: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.people = People(self.site, self.user)

    @property
    def visibility(self) -> JobVisibility:
        return JobVisibility.of(self.user)


Info = GraphQLResolveInfo[Context]
"""What a resolver is told besides its arguments."""


def selects(info: Info, *path: str) -> bool:
    """Whether the operation selects the field at this path below the one being resolved."""
    return any(_selects(node.selection_set, path, info) for node in info.field_nodes)


def _selects(selections: SelectionSetNode | None, path: tuple[str, ...], info: Info) -> bool:
    for selection in selections.selections if selections is not None else ():
        if isinstance(selection, FieldNode):
            if selection.name.value != path[0]:
                continue
            if len(path) == 1 or _selects(selection.selection_set, path[1:], info):
                return True
        elif isinstance(selection, InlineFragmentNode):
            if _selects(selection.selection_set, path, info):
                return True
        elif isinstance(selection, FragmentSpreadNode) and _selects(
            info.fragments[selection.name.value].selection_set, path, info
        ):
            return True
    return False
