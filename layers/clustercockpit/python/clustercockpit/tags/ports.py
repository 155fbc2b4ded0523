"""The door of the tags room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from clustercockpit.jobs.model import Tag


class TagStore(Protocol):
    """The tags there are. A tag is named by type, name and scope together; its id is ours."""

    def all(self) -> Sequence[Tag]:
        """Every tag by id, as of at most a minute ago."""
        ...

    def by_ids(self, ids: Iterable[int]) -> tuple[Tag, ...]:
        """Those of the tags that exist, in the order asked."""
        ...

    def find(self, type: str, name: str, scope: str) -> Tag | None:
        """Strongly consistent."""
        ...

    def find_or_create(self, type: str, name: str, scope: str) -> Tag:
        """InvalidInputError for empty or overlong words."""
        ...

    def delete(self, id: int) -> None:
        """Forget the tag. Jobs that carry it no longer show it; its links are removed by whoever asked."""
        ...

    def jobs_with(self, id: int) -> Iterable[int]:
        """Ids of the jobs that carry the tag, eventually consistent."""
        ...
