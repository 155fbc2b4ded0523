"""Accounts, settings, session epochs and attempt budgets in the one table.

| item | pk | sk |
|---|---|---|
| account | `USER` | `{username}` |
| UI setting | `CFG#{username}` | `{key}` |
| session epoch | `SES#{username}` | `E` |
| attempt budget | `TRY#{digest}` | `B` |
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from botocore.exceptions import BotoCoreError
from pynamodb.attributes import ListAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import DoesNotExist, PutError, PynamoDBException, UpdateError

from clustercockpit.access.model import AuthSource, split_roles
from clustercockpit.errors import ConflictError, NotFoundError, RateLimitedError, UnavailableError
from clustercockpit.storage.dynamodb.table import Table, TableItem
from clustercockpit.users.model import Account

_WRITERS = 8  # competing writers of one item we wait for
_LONGEST_NAME = 1024  # bytes
_ATTEMPTS_KEPT_SECONDS = 24 * 3600


class AccountItem(TableItem):
    name = UnicodeAttribute(null=True)
    email = UnicodeAttribute(null=True)
    roles: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute, default=list)
    projects: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute, default=list)
    source = NumberAttribute(default=0)
    password_hash = UnicodeAttribute(null=True)
    created = NumberAttribute(default=0)
    updated = NumberAttribute(default=0)
    ver = NumberAttribute(default=0)


class SettingItem(TableItem):
    value = UnicodeAttribute()


class EpochItem(TableItem):
    epoch = NumberAttribute(default=0)
    projects: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute, default=list)


class BudgetItem(TableItem):
    # When the bucket will be full again, Unix seconds
    full_at = NumberAttribute(default=0)


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _answering(operation: Callable[_P, _R]) -> Callable[_P, _R]:
    """A table that does not answer is told as such."""

    @wraps(operation)
    def told(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return operation(*args, **kwargs)
        except (PynamoDBException, BotoCoreError) as error:
            raise UnavailableError("the user database does not answer; try again") from error

    return told


def _possible(username: str) -> bool:
    """Whether there can be an account of that name: a longer one is no key."""
    return 0 < len(username.encode("utf-8", "replace")) <= _LONGEST_NAME


def _failed(error: PutError | UpdateError) -> bool:
    return error.cause_response_code == "ConditionalCheckFailedException"


class DynamoUsers:
    """`users.ports.UserStore` and `users.ports.Attempts` on the one table."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._accounts = table.model(AccountItem)
        self._settings = table.model(SettingItem)
        self._epochs = table.model(EpochItem)
        self._budgets = table.model(BudgetItem)
        self._clock = clock

    # Accounts

    @_answering
    def get(self, username: str) -> Account | None:
        if not _possible(username):
            return None
        try:
            return _account(self._accounts.get("USER", username, consistent_read=True))
        except DoesNotExist:
            return None

    @_answering
    def get_many(self, usernames: Iterable[str]) -> dict[str, Account]:
        keys = [("USER", username) for username in set(usernames) if _possible(username)]
        found = [_account(item) for item in self._accounts.batch_get(keys)] if keys else []
        return {account.username: account for account in found}

    @_answering
    def accounts(self) -> list[Account]:
        return [_account(item) for item in self._accounts.query("USER", consistent_read=True)]

    @_answering
    def add(self, account: Account) -> Account:
        now = int(self._clock())
        account = replace(account, created=now, updated=now, version=1)
        try:
            self._item(account).save(condition=self._accounts.pk.does_not_exist())
        except PutError as error:
            if _failed(error):
                raise ConflictError(f"user {account.username} exists already") from None
            raise
        return account

    @_answering
    def change(self, username: str, change: Callable[[Account], Account]) -> Account:
        for _ in range(_WRITERS):
            before = self.get(username)
            if before is None:
                raise NotFoundError(f"no user {username}")
            after = change(before)
            if after == before:
                return before
            after = replace(after, username=username, updated=int(self._clock()), version=before.version + 1)
            try:
                self._item(after).save(condition=self._accounts.ver == before.version)
            except PutError as error:
                if not _failed(error):
                    raise
            else:
                return after
        raise UnavailableError(f"user {username} is being changed by others; try again")

    @_answering
    def remove(self, username: str) -> None:
        self._accounts("USER", username).delete()
        keys = [item.sk for item in self._settings.query(f"CFG#{username}", consistent_read=True)]
        with self._settings.batch_write() as batch:
            for key in keys:
                batch.delete(self._settings(f"CFG#{username}", key))

    def _item(self, account: Account) -> AccountItem:
        return self._accounts(
            "USER",
            account.username,
            name=account.name or None,
            email=account.email or None,
            roles=sorted(account.roles),
            projects=list(account.projects),
            source=int(account.source),
            password_hash=account.password_hash or None,
            created=account.created,
            updated=account.updated,
            ver=account.version,
        )

    # UI settings

    @_answering
    def settings(self, username: str) -> dict[str, str]:
        return {item.sk: item.value for item in self._settings.query(f"CFG#{username}", consistent_read=True)}

    @_answering
    def set_setting(self, username: str, key: str, value: str) -> None:
        self._settings(f"CFG#{username}", key, value=value).save()

    # Sessions

    @_answering
    def epoch(self, username: str) -> int:
        item = self._epoch_item(username)
        return int(item.epoch) if item is not None else 0

    @_answering
    def raise_epoch(self, username: str) -> int:
        item = self._epochs(f"SES#{username}", "E")
        item.update(actions=[self._epochs.epoch.set((self._epochs.epoch | 0) + 1)])
        return int(item.epoch)

    @_answering
    def keep_projects(self, username: str, projects: Sequence[str]) -> None:
        item = self._epochs(f"SES#{username}", "E")
        item.update(actions=[self._epochs.projects.set(list(projects))])

    @_answering
    def kept_projects(self, username: str) -> frozenset[str]:
        item = self._epoch_item(username)
        return frozenset(item.projects or ()) if item is not None else frozenset()

    def _epoch_item(self, username: str) -> EpochItem | None:
        try:
            return self._epochs.get(f"SES#{username}", "E", consistent_read=True)
        except DoesNotExist:
            return None

    # Attempts: a bucket is the moment at which it will be full again, so one number is enough.

    @_answering
    def take(self, key: str, *, burst: int, seconds_each: float) -> float:
        for _ in range(_WRITERS):
            now = self._clock()
            stored = self._budget(key)
            full_at = max(stored or 0.0, now) + seconds_each
            wait = full_at - burst * seconds_each - now
            if wait > 1e-6:
                return wait
            if self._set_budget(key, stored, full_at):
                return 0.0
        raise RateLimitedError("too many attempts at once, try again in a few minutes")

    @_answering
    def give_back(self, key: str, *, seconds_each: float) -> None:
        for _ in range(_WRITERS):
            stored = self._budget(key)
            if stored is None or self._set_budget(key, stored, stored - seconds_each):
                return

    def _budget(self, key: str) -> float | None:
        with suppress(DoesNotExist):
            return float(self._budgets.get(*_budget_key(key), consistent_read=True).full_at)
        return None

    def _set_budget(self, key: str, stored: float | None, full_at: float) -> bool:
        item = self._budgets(*_budget_key(key))
        budget = self._budgets.full_at
        try:
            item.update(
                actions=[
                    budget.set(full_at),
                    self._budgets.expires.set(datetime.fromtimestamp(full_at + _ATTEMPTS_KEPT_SECONDS, UTC)),
                ],
                condition=budget.does_not_exist() if stored is None else budget == stored,
            )
        except UpdateError as error:
            if _failed(error):
                return False
            raise
        return True


def _budget_key(key: str) -> tuple[str, str]:
    # A digest: people type passwords into the name field, and names can be of any length.
    return f"TRY#{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:32]}", "B"


def _account(item: AccountItem) -> Account:
    return Account(
        username=item.sk,
        roles=split_roles(item.roles or ())[0],
        projects=tuple(item.projects or ()),
        name=item.name or "",
        email=item.email or "",
        source=AuthSource(int(item.source)),
        password_hash=item.password_hash or "",
        created=int(item.created),
        updated=int(item.updated),
        version=int(item.ver),
    )
