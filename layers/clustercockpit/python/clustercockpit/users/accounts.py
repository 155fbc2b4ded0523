"""Accounts: who is added, changed and removed, by which rules, and who a password belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clustercockpit.access.model import AuthSource, Role
from clustercockpit.errors import ConflictError, InvalidInputError
from clustercockpit.users.model import Account, assignable_role, valid_username
from clustercockpit.users.passwords import PasswordCheck, hash_password
from clustercockpit.users.ports import UserStore

MAX_TEXT = 255


class Accounts:
    """The rules about accounts over a store. `revoke` ends the sessions of a user whose rights changed."""

    def __init__(self, store: UserStore, revoke: Callable[[str], None], passwords: PasswordCheck) -> None:
        self._store = store
        self._revoke = revoke
        self._passwords = passwords

    def get(self, username: str) -> Account | None:
        return self._store.get(username)

    def all(self, *, not_just_user: bool = False) -> list[Account]:
        """By name; `not_just_user` leaves out those with no role but `user`."""
        accounts = self._store.accounts()
        if not_just_user:
            return [account for account in accounts if account.roles - {Role.USER}]
        return accounts

    def add(
        self,
        username: str,
        *,
        roles: frozenset[Role],
        password: str = "",
        name: str = "",
        email: str = "",
        project: str = "",
        source: AuthSource = AuthSource.LOCAL,
    ) -> Account:
        """InvalidInputError for what cannot be an account, ConflictError if the name is taken (in any case:
        `Alice` and `alice` would be taken for one another)."""
        valid_username(username)
        for what, text in (("name", name), ("email", email), ("project", project)):
            if len(text) > MAX_TEXT:
                raise InvalidInputError(f"{what} must not be longer than {MAX_TEXT} characters")
        if not roles:
            raise InvalidInputError("a user needs at least one role")
        if not password and roles != {Role.API} and source is AuthSource.LOCAL:
            raise InvalidInputError("only a user with no role but api may have no password")
        if project and Role.MANAGER not in roles:
            raise InvalidInputError("only managers can have a project")
        twins = [a.username for a in self._store.accounts() if a.username.lower() == username.lower()]
        if twins:
            raise ConflictError(f"user {twins[0]} exists already")
        account = Account(
            username,
            roles,
            (project,) if project else (),
            name,
            email,
            source,
            hash_password(password, cost=self._passwords.cost) if password else "",
        )
        return self._store.add(account)

    def remove(self, username: str) -> None:
        """An unknown name is no error. ConflictError for the last administrator."""
        account = self._store.get(username)
        if account is not None and Role.ADMIN in account.roles:
            self._another_admin_than(username)
        self._store.remove(username)
        self._revoke(username)

    def add_role(self, username: str, role: str) -> Account:
        wanted = assignable_role(role)

        def change(account: Account) -> Account:
            if wanted in account.roles:
                raise ConflictError(f"user {username} has the role {wanted} already")
            return replace(account, roles=account.roles | {wanted})

        return self._changed(username, change)

    def remove_role(self, username: str, role: str) -> Account:
        unwanted = assignable_role(role)

        def change(account: Account) -> Account:
            if unwanted not in account.roles:
                raise ConflictError(f"user {username} does not have the role {unwanted}")
            if unwanted is Role.MANAGER and account.projects:
                raise ConflictError(
                    f"user {username} still manages {', '.join(account.projects)}: remove the projects first"
                )
            return replace(account, roles=account.roles - {unwanted})

        if unwanted is Role.ADMIN:
            self._another_admin_than(username)
        return self._changed(username, change)

    def add_project(self, username: str, project: str) -> Account:
        project = project.strip()
        if not 1 <= len(project) <= MAX_TEXT or not project.isprintable():
            raise InvalidInputError(f"a project is printable text of 1 to {MAX_TEXT} characters")

        def change(account: Account) -> Account:
            if Role.MANAGER not in account.roles:
                raise ConflictError(f"user {username} is not a manager")
            if project in account.projects:
                raise ConflictError(f"user {username} manages {project} already")
            return replace(account, projects=(*account.projects, project))

        return self._changed(username, change)

    def remove_project(self, username: str, project: str) -> Account:
        def change(account: Account) -> Account:
            if Role.MANAGER not in account.roles:
                raise ConflictError(f"user {username} is not a manager")
            if project not in account.projects:
                raise ConflictError(f"user {username} does not manage {project}")
            return replace(account, projects=tuple(p for p in account.projects if p != project))

        return self._changed(username, change)

    def with_password(self, username: str, password: str) -> Account | None:
        """The local account the password belongs to, or None. Takes as long for an unknown name. Blocks for
        a quarter of a second: call it in a thread."""
        account = self._store.get(username)
        local = account is not None and account.source is AuthSource.LOCAL
        password_hash = account.password_hash if account is not None and local else ""
        if not self._passwords.matches(password, password_hash) or account is None:
            return None
        if self._passwords.outdated(password_hash) and len(password) >= 8:
            new_hash = hash_password(password, cost=self._passwords.cost)
            account = self._store.change(username, lambda a: replace(a, password_hash=new_hash))
        return account

    def _changed(self, username: str, change: Callable[[Account], Account]) -> Account:
        changed = self._store.change(username, change)
        # Rights live in the session's cookie: a session from before the change must not go on with them.
        self._revoke(username)
        return changed

    def _another_admin_than(self, username: str) -> None:
        if not any(
            Role.ADMIN in account.roles for account in self._store.accounts() if account.username != username
        ):
            raise ConflictError(f"{username} is the last administrator")
