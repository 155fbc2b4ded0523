"""The users' store and the attempt budgets, against each implementation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import Any

import pytest

from clustercockpit.access.attempts import BURST, attempt
from clustercockpit.access.model import AuthSource, Role
from clustercockpit.errors import ConflictError, NotFoundError, RateLimitedError
from clustercockpit.storage.dynamodb.table import Table
from clustercockpit.storage.dynamodb.users import AccountItem, DynamoUsers
from clustercockpit.users.model import Account


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["dynamodb"])
def users(dynamodb_table: Table, clock: Clock) -> DynamoUsers:
    return DynamoUsers(dynamodb_table, clock)


ALICE = Account(
    "alice",
    frozenset({Role.MANAGER, Role.API}),
    ("p2", "p1"),
    "Alice Ä",
    "a@b",
    AuthSource.LDAP,
    "$2b$04$" + "a" * 53,
)


def test_an_account_comes_back_whole(users: DynamoUsers) -> None:
    stored = users.add(ALICE)
    assert stored == replace(ALICE, created=1_700_000_000, updated=1_700_000_000, version=1)
    assert users.get("alice") == stored
    assert users.get("Alice") is None
    assert users.get("") is None
    bare = users.add(Account("bob"))
    assert users.get("bob") == bare
    assert users.accounts() == [stored, bare]


def test_a_name_is_taken_once(users: DynamoUsers) -> None:
    users.add(ALICE)
    with pytest.raises(ConflictError, match="alice"):
        users.add(Account("alice"))


def test_changes_do_not_overwrite_each_other(users: DynamoUsers) -> None:
    users.add(ALICE)
    interrupted = False

    def change(account: Account) -> Account:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            users.change("alice", lambda a: replace(a, name="Other"))
        return replace(account, email="new@b")

    changed = users.change("alice", change)
    assert (changed.name, changed.email, changed.version) == ("Other", "new@b", 3)
    with pytest.raises(NotFoundError):
        users.change("nobody", change)


def test_removing_takes_the_settings_along_and_no_neighbours(users: DynamoUsers) -> None:
    users.add(ALICE)
    for name in ("alice", "alice2", "ali"):
        for i in range(30):
            users.set_setting(name, f"key{i}", "1")
    users.remove("alice")
    users.remove("nobody")
    assert users.get("alice") is None
    assert users.settings("alice") == {}
    assert len(users.settings("alice2")) == len(users.settings("ali")) == 30


def test_settings(users: DynamoUsers) -> None:
    users.set_setting("eve", "a:b", "[1]")
    users.set_setting("eve", "a:b", '{"x":2}')
    assert users.settings("eve") == {"a:b": '{"x":2}'}


def test_epochs_grow_and_projects_are_kept(users: DynamoUsers) -> None:
    assert users.epoch("alice") == 0
    assert users.kept_projects("alice") == frozenset()
    assert [users.raise_epoch("alice"), users.raise_epoch("alice")] == [1, 2]
    users.keep_projects("alice", ["a", "b"])
    assert users.epoch("alice") == 2
    assert users.kept_projects("alice") == {"a", "b"}
    assert users.raise_epoch("alice") == 3
    assert users.kept_projects("alice") == {"a", "b"}


def test_the_sixth_failure_is_refused_and_time_heals(users: DynamoUsers, clock: Clock) -> None:
    for _ in range(BURST):
        with attempt(users, "192.0.2.1", "alice"):
            pass
    with pytest.raises(RateLimitedError), attempt(users, "192.0.2.1", "alice"):
        raise AssertionError("not reached")
    for address, name in (("192.0.2.1", "bob"), ("192.0.2.2", "alice")):
        with attempt(users, address, name):
            pass
    clock.now += 181
    with attempt(users, "192.0.2.1", "alice"):
        pass
    with pytest.raises(RateLimitedError), attempt(users, "192.0.2.1", "alice"):
        raise AssertionError("not reached")


def test_good_attempts_do_not_count(users: DynamoUsers) -> None:
    for _ in range(3 * BURST):
        with attempt(users, "192.0.2.1", "alice") as this:
            this.succeeded = True


def test_parallel_guesses_share_the_budget(
    users: DynamoUsers, dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = dynamodb_table.model(AccountItem)._get_connection().connection.client
    original, one_at_a_time = client._make_api_call, Lock()

    def atomic(operation: str, arguments: dict[str, Any]) -> Any:
        # The emulated table looks at a condition and writes in two steps
        with one_at_a_time:
            return original(operation, arguments)

    monkeypatch.setattr(client, "_make_api_call", atomic)

    def guess(_: int) -> bool:
        try:
            with attempt(users, "192.0.2.1", "alice"):
                return True
        except RateLimitedError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(guess, range(24))) <= BURST


def test_hostile_names_stay_in_their_item(users: DynamoUsers) -> None:
    for name in ("USER", "a#b", "x" * 3000, "\x00", "ü\U0001f600"):
        with attempt(users, "192.0.2.1", name):
            pass
    users.set_setting("a#b", "k", "1")
    assert users.settings("a") == {}


@pytest.mark.parametrize("name", ["x" * 5000, "\N{GRINNING FACE}" * 300])
def test_nobody_has_a_name_longer_than_a_key(
    users: DynamoUsers, dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """DynamoDB refuses such a key; the emulated one does not."""
    client = dynamodb_table.model(AccountItem)._get_connection().connection.client
    original = client._make_api_call

    def strict(operation: str, arguments: dict[str, Any]) -> Any:
        assert name not in str(arguments)
        return original(operation, arguments)

    monkeypatch.setattr(client, "_make_api_call", strict)
    assert users.get(name) is None
    users.add(ALICE)
    assert list(users.get_many([name, "alice"])) == ["alice"]
