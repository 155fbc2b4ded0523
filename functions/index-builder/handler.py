"""Lambda entry of the index builder, every minute."""

from typing import Any

from clustercockpit.index import builder
from clustercockpit.site import Site

site = Site()


def handler(_event: dict[str, Any], _context: object) -> None:
    builder.run(site)
