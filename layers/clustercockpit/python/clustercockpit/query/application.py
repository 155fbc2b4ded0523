"""The query application: lists, single jobs with their series, GraphQL, and the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clustercockpit.graphql.http import graphql_router
from clustercockpit.http.application import application
from clustercockpit.metrics.http import series_router
from clustercockpit.query.deleting import deleting_router
from clustercockpit.query.jobs import job_routers
from clustercockpit.query.pages import pages_router

if TYPE_CHECKING:
    from fastapi import FastAPI

    from clustercockpit.site import Site


def create_query(site: Site) -> FastAPI:
    """The application that answers questions. What it stands on is opened at first use."""
    return application(
        site,
        [
            *job_routers(site),
            deleting_router(site),
            series_router(site),
            graphql_router(site),
            pages_router(site),
        ],
        title="ClusterCockpit query",
    )
