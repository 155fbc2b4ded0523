"""The order in which the ways to log in are asked, and where a fresh login may go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from clustercockpit.access.attempts import attempt
from clustercockpit.access.model import User
from clustercockpit.errors import NotAuthenticatedError
from clustercockpit.users.accounts import Accounts
from clustercockpit.users.ports import Attempts

FAILED = "Authentication failed"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What came with a login. `address` is the caller's."""

    username: str
    password: str
    address: str


class LoginMethod(Protocol):
    """One way to log in. The first that handles the credentials decides: there is no falling through."""

    def handles(self, credentials: Credentials) -> bool: ...

    def user(self, credentials: Credentials) -> User | None:
        """The user, or None if the credentials do not hold."""
        ...


class LocalAccounts:
    """Accounts with a password of ours. Handles everything, so it comes last; an unknown name takes as long
    as a wrong password."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def handles(self, credentials: Credentials) -> bool:  # noqa: ARG002
        return True

    def user(self, credentials: Credentials) -> User | None:
        account = self._accounts.with_password(credentials.username, credentials.password)
        return account.user() if account is not None else None


class Login:
    def __init__(self, methods: Sequence[LoginMethod], attempts: Attempts) -> None:
        self._methods = methods
        self._attempts = attempts

    def user(self, credentials: Credentials) -> User:
        """Who logs in. One text for every failure: it does not tell which names exist.

        NotAuthenticatedError; RateLimitedError after five failures of the same address and name.
        """
        with attempt(self._attempts, credentials.address, credentials.username) as this:
            for method in self._methods:
                if method.handles(credentials):
                    user = method.user(credentials)
                    if user is not None and user.roles:
                        this.succeeded = True
                        return user
                    break
        raise NotAuthenticatedError(FAILED)


def safe_redirect(target: str) -> str:
    """`target` if it is an address on this host, else `/`. Browsers read `//host`, `/\\host` and addresses
    with control characters in them as another host."""
    if not re.match(r"/(?![/\\])", target) or "\\" in target or not target.isprintable():
        return "/"
    return target
