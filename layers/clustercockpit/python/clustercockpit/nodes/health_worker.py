"""Brings the health of all nodes up to date, every minute.

On AWS reports come in at a function outside the network, which cannot ask the metric store: a node then
keeps the health it had, and this worker, inside the network, asks. One request per subcluster, and nothing is
written where nothing changed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from clustercockpit.errors import UnavailableError

if TYPE_CHECKING:
    from clustercockpit.site import Site

_log = logging.getLogger(__name__)


def run(site: Site) -> int:
    """How many nodes' health changed. UnavailableError if any cluster could not be brought up to date."""
    changed, failure = 0, None
    for cluster in site.clusters.clusters():
        try:
            changed += site.node_service.refresh_health(cluster.name)
        except UnavailableError as error:
            _log.warning("%s: %s", cluster.name, error)
            failure = error
    if failure is not None:
        raise failure
    return changed
