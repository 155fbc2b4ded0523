"""The ASGI applications for uvicorn, as a factory."""

from __future__ import annotations

import sys

from fastapi import FastAPI

from clustercockpit.errors import ConfigurationError
from clustercockpit.server import create_app
from clustercockpit.site import Site


def create() -> FastAPI:
    try:
        return create_app(Site())
    except ConfigurationError as error:
        sys.exit(f"configuration: {error}")
