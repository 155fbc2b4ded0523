"""The ASGI applications for uvicorn, as a factory."""

from __future__ import annotations

from fastapi import FastAPI

from clustercockpit.server import create_app
from clustercockpit.site import Site


def create() -> FastAPI:
    return create_app(Site())
