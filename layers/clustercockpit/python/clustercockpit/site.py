"""The composition root: which implementation stands behind which port.

One `Site` per process. Everything is built at first use and kept, so that importing an application costs
nothing and a Lambda function pays only for what a request touches. A room is wired here and nowhere else.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from clustercockpit.settings import Settings

if TYPE_CHECKING:
    from clustercockpit.storage.dynamodb.table import Table


class Site:
    """All rooms of one installation, wired to the deployment that `settings` describes."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._given_settings = settings

    @cached_property
    def settings(self) -> Settings:
        return self._given_settings or Settings.from_environment()

    @cached_property
    def table(self) -> Table:
        """The one DynamoDB table; only `storage` looks inside."""
        from clustercockpit.storage.dynamodb.table import Table

        return Table(self.settings)
