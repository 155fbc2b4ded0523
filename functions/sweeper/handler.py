"""Lambda entry of the sweeper: stopped jobs that no message reached, every ten minutes."""

from typing import Any

from clustercockpit.archive import sweeper
from clustercockpit.site import Site

site = Site()


def handler(_event: dict[str, Any], _context: object) -> None:
    sweeper.run(site)
