"""`python -m cc_job_events`: take job events and node states from NATS until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from dataclasses import replace

from cc_job_events.service import JobEvents
from clustercockpit.json_lines import JsonLines
from clustercockpit.settings import Settings
from clustercockpit.site import Site

_LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "err": 40, "error": 40, "crit": 50}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cc_job_events",
        description="Takes job events and node states from NATS. Deployment facts come from the environment "
        "(CC_TABLE_NAME, CC_ARCHIVE_BUCKET, CC_ARCHIVE_QUEUE_URL, CC_NATS_URL, CC_CONFIG_FILE, …), subjects "
        "and credentials from main.api-subjects and nats of the configuration.",
    )
    parser.add_argument("-config", "--config", default="", help="configuration file (CC_CONFIG_FILE)")
    parser.add_argument("-loglevel", "--loglevel", default="", choices=["", *_LEVELS])
    chosen = parser.parse_args(arguments)
    settings = Settings.from_environment()
    if chosen.config:
        settings = replace(settings, config_file=chosen.config)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    level = _LEVELS.get((chosen.loglevel or settings.log_level).lower(), logging.INFO)
    logging.basicConfig(level=level, handlers=[handler])

    async def run() -> None:
        await JobEvents(Site(settings)).run()

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
