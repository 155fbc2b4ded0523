"""`python -m cc_metric_store`: run the store until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable

from clustercockpit.errors import ConfigurationError
from clustercockpit.json_lines import JsonLines
from clustercockpit.settings import Settings


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cc_metric_store",
        description="The metric store of ClusterCockpit. Deployment facts come from the environment "
        "(CC_METRIC_STORE_ADDRESS, CC_CONFIG_FILE, CC_ARCHIVE_BUCKET, CC_DATA_BUCKET, JWT_PUBLIC_KEY, …), "
        "behaviour from the sections metric-store, metrics and nats of the configuration file.",
    )
    parser.add_argument(
        "-config", "--config", default="", help="configuration file (default: CC_CONFIG_FILE)"
    )
    parser.add_argument(
        "-loglevel", "--loglevel", default="", choices=["", "debug", "info", "warn", "err", "crit"]
    )
    parser.add_argument("--address", default="", help="host:port to listen at (CC_METRIC_STORE_ADDRESS)")
    parser.add_argument(
        "--without-authentication", action="store_true", help="let everybody in; for tests on one machine"
    )
    parser.add_argument(
        "--compile-only", action="store_true", help="fill NUMBA_CACHE_DIR with the compiled kernels and end"
    )
    chosen = parser.parse_args(arguments)
    settings = Settings.from_environment()
    levels = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "err": 40, "error": 40, "crit": 50}
    level = levels.get((chosen.loglevel or settings.log_level).lower(), logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler])

    if chosen.compile_only:
        from cc_metric_store.kernels import compile_all

        compile_all(settings.numba_cache_dir)
        return 0

    from cc_metric_store.durability import OwnershipLostError
    from cc_metric_store.wiring import build

    try:
        address, service = build(
            settings, chosen.config, chosen.address, authenticate=not chosen.without_authentication
        )
        with asyncio.Runner(loop_factory=_event_loop()) as runner:
            runner.run(service().run(address))
    except ConfigurationError as error:
        print(f"cc_metric_store: {error}", file=sys.stderr)
        return 2
    except OwnershipLostError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
