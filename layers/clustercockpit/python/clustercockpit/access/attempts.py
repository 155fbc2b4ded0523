"""How many failed log-ins there may be: five per caller and name, regained one per three minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clustercockpit.errors import RateLimitedError

if TYPE_CHECKING:
    from clustercockpit.users.ports import Attempts

BURST = 5
SECONDS_EACH = 180.0
TOO_MANY = "too many login attempts, try again in a few minutes"


class Attempt:
    """One attempt. It counts against the caller unless it turns out well."""

    succeeded = False


@contextmanager
def attempt(attempts: Attempts, address: str, name: str) -> Iterator[Attempt]:
    """Charge an attempt before the password is looked at (parallel guesses count too), and give it back if
    it was good. RateLimitedError if there is none left."""
    key = f"{address}\n{name}"
    if attempts.take(key, burst=BURST, seconds_each=SECONDS_EACH) > 0:
        raise RateLimitedError(TOO_MANY)
    this = Attempt()
    yield this
    if this.succeeded:
        attempts.give_back(key, seconds_each=SECONDS_EACH)
