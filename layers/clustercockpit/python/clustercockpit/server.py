"""Everything behind one address: for `cc-backend -server`, and for the local stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import FastAPI

from clustercockpit.http.application import application
from clustercockpit.metrics.hub import StoreConnection, hub_router

if TYPE_CHECKING:
    from clustercockpit.site import Site


def create_app(site: Site) -> FastAPI:
    """Both applications and the metric store's doors, in one stack. Raises ConfigurationError if the
    installation cannot be trusted to guard anything: missing or short keys."""
    site.check_keys()
    store = StoreConnection(site)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await store.close()

    # Loaded by name: the applications are large, and the command line does not need them.
    api = import_module("clustercockpit.api.application").create_api(site)
    query = import_module("clustercockpit.query.application").create_query(site)
    routers = [hub_router(store), api.router, query.router]
    return application(site, routers, lifespan=lifespan)
