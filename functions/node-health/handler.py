"""Lambda entry of the worker that asks the metric store for the health of all nodes, every minute."""

from typing import Any

from clustercockpit.nodes import health_worker
from clustercockpit.site import Site

site = Site()


def handler(_event: dict[str, Any], _context: object) -> None:
    health_worker.run(site)
