"""Lambda entry of the footprint worker, every minute; how often it does something is the configuration's."""

from typing import Any

from clustercockpit.footprints import worker
from clustercockpit.site import Site

site = Site()


def handler(_event: dict[str, Any], _context: object) -> None:
    worker.run(site)
