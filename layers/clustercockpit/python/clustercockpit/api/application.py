"""The api application: writes, tokens, look-ups by key. Small, for a fast cold start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clustercockpit.access import http as access_http
from clustercockpit.clusters.http import cluster_routers
from clustercockpit.http.application import application
from clustercockpit.jobs.http import job_routers
from clustercockpit.nodes.http import node_routers
from clustercockpit.users import http as users_http

if TYPE_CHECKING:
    from fastapi import FastAPI

    from clustercockpit.site import Site


def create_api(site: Site) -> FastAPI:
    """The application that writes. What it stands on is opened at first use."""
    routers = [
        *job_routers(site),
        *cluster_routers(site),
        *node_routers(site),
        *access_http.routers(site),
        *users_http.routers(site),
    ]
    return application(site, routers, title="ClusterCockpit API")
