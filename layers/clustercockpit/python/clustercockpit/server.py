"""Everything behind one address: for `cc-backend -server`, and for the local stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from clustercockpit.http.application import application
from clustercockpit.metrics.hub import StoreConnection, hub_router

if TYPE_CHECKING:
    from clustercockpit.site import Site


def create_app(site: Site) -> FastAPI:
    """Both applications and the metric store's doors, in one stack. Raises ConfigurationError if the
    installation cannot be trusted to guard anything: missing or short keys."""
    # Large, and nothing else of the command line needs them
    from clustercockpit.api.application import create_api
    from clustercockpit.query.application import create_query

    site.check_start()
    store = StoreConnection(site)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await store.close()

    routers = [hub_router(store), create_api(site).router, create_query(site).router]
    return application(site, routers, lifespan=lifespan)


def create_reader(site: Site) -> FastAPI:
    """What the query function answers with: questions, pages, and the reads of the api application. The
    gateway tells reads from writes by their method alone, so that nothing depends on how it takes a slash at
    the end of a path."""
    from clustercockpit.api.application import create_api
    from clustercockpit.query.application import create_query

    return application(site, [create_api(site).router, create_query(site).router])
