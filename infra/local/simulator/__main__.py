"""`python -m simulator`: the command line."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simulator.outlets import HubUnreachableError
from simulator.run import Simulation, Stack


def seconds(text: str) -> int:
    """`2h`, `90m`, `1h30m`, `45s` or plain seconds."""
    matched = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not text or matched is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 2h, 90m, 1h30m or seconds")
    hours, minutes, rest = (int(part or 0) for part in matched.groups())
    return hours * 3600 + minutes * 60 + rest


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed between 0 and 100")
    return value


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="simulator",
        description="Play a demo site against a running local stack: jobs and metrics of two clusters, "
        "with healthy programs and with troubles. What is really wrong is written to truth.jsonl.",
    )
    parser.add_argument(
        "--local", type=Path, default=Path("var/local.json"), metavar="FILE",
        help="the stack's description (default: %(default)s); truth.jsonl is written beside it",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: %(default)s)")
    parser.add_argument(
        "--speed", type=positive, default=1.0, metavar="X",
        help="jobs are X times as short, and so there are X times as many; time stamps stay true",
    )  # fmt: skip
    parser.add_argument(
        "--backfill", type=seconds, default=7200, metavar="DURATION",
        help="how much of the past to fill in at the start (default: 2h; 0 for none)",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="fill in the past, then end")
    for name in ("metrics", "jobs", "nodes"):
        parser.add_argument(
            f"--{name}-subject", metavar="SUBJECT",
            help=f"NATS subject of {name} (default: nats_subjects.{name} of FILE, or hpc-{name})",
        )  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="say more")
    return parser.parse_args(argv)


async def simulate(options: argparse.Namespace) -> None:
    stack = Stack.read(options.local)
    given = {n: v for n in ("metrics", "jobs", "nodes") if (v := getattr(options, f"{n}_subject"))}
    simulation = Simulation(
        replace(stack, subjects=replace(stack.subjects, **given)),
        options.local.parent,
        seed=options.seed,
        speed=options.speed,
        backfill=options.backfill,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, simulation.stopping.set)
    await simulation.run(once=options.once)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s simulator: %(message)s", datefmt="%H:%M:%S", stream=sys.stdout
    )
    logging.getLogger("simulator").setLevel(logging.DEBUG if options.verbose else logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(simulate(options))
    except (HubUnreachableError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
