"""What the users room needs from storage. Implementation: `storage.dynamodb.users`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from clustercockpit.access.sessions import Epochs
from clustercockpit.users.model import Account


class UserStore(Epochs, Protocol):
    """Accounts, their UI settings, their session epochs. Names are case-sensitive."""

    def get(self, username: str) -> Account | None:
        """Strongly consistent."""
        ...

    def get_many(self, usernames: Iterable[str]) -> dict[str, Account]:
        """Those of the accounts that exist, by name; eventually consistent."""
        ...

    def accounts(self) -> list[Account]:
        """All accounts by name."""
        ...

    def add(self, account: Account) -> Account:
        """ConflictError if the name exists."""
        ...

    def change(self, username: str, change: Callable[[Account], Account]) -> Account:
        """Apply `change` to the newest version; it may be called again if another writer was faster.
        NotFoundError for an unknown name; what `change` raises is passed on."""
        ...

    def remove(self, username: str) -> None:
        """The account and its settings. An unknown name is no error."""
        ...

    def settings(self, username: str) -> dict[str, str]:
        """The user's UI settings: key to JSON text. Users without an account have settings too."""
        ...

    def set_setting(self, username: str, key: str, value: str) -> None: ...


class Attempts(Protocol):
    """Budgets of attempts, shared by all processes of the installation."""

    def take(self, key: str, *, burst: int, seconds_each: float) -> float:
        """Use one attempt of the bucket `key`, which holds `burst` and regains one per `seconds_each`.
        Returns 0.0 if there was one, else the seconds until there is."""
        ...

    def give_back(self, key: str, *, seconds_each: float) -> None:
        """The attempt was a good one: it does not count."""
        ...
