"""Passwords: bcrypt, in the forms an existing installation has stored (`$2a$`, `$2b$`, `$2y$`)."""

from __future__ import annotations

import re

import bcrypt

from clustercockpit.errors import InvalidInputError

COST = 12
MAX_PASSWORD_BYTES = 72  # bcrypt reads no more
MIN_PASSWORD_CHARACTERS = 8

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


def hash_password(password: str, *, cost: int = COST) -> str:
    """InvalidInputError for a password that is too short, too long, or holds a zero byte."""
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise InvalidInputError(f"password must have at least {MIN_PASSWORD_CHARACTERS} characters")
    raw = password.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_PASSWORD_BYTES:
        raise InvalidInputError(f"password must not be longer than {MAX_PASSWORD_BYTES} bytes")
    if b"\0" in raw:
        raise InvalidInputError("password must not hold a zero byte")
    return bcrypt.hashpw(raw, bcrypt.gensalt(cost)).decode()


class PasswordCheck:
    """Compares a password with a hash, and takes as long where there is no hash to compare with."""

    def __init__(self, *, cost: int = COST) -> None:
        self.cost = cost
        self._nobody: str | None = None

    def matches(self, password: str, password_hash: str) -> bool:
        """False for an empty password, one that bcrypt could not tell from another, or no usable hash."""
        raw = password.encode("utf-8", "surrogatepass")
        usable = bool(_HASH.fullmatch(password_hash))
        sane = 0 < len(raw) <= MAX_PASSWORD_BYTES and b"\0" not in raw
        against = password_hash if usable else self._hash_of_nobody()
        equal = bcrypt.checkpw(raw if sane else b"-", against.encode())
        return equal and usable and sane

    def outdated(self, password_hash: str) -> bool:
        """True for a hash that was made with less effort than new ones are."""
        match = _HASH.fullmatch(password_hash)
        return match is None or int(match[1]) < self.cost

    def _hash_of_nobody(self) -> str:
        if self._nobody is None:
            self._nobody = bcrypt.hashpw(b"nobody has this password", bcrypt.gensalt(self.cost)).decode()
        return self._nobody
