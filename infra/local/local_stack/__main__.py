"""`python -m local_stack`: the command line behind `make run`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from local_stack.console import LocalStackError
from local_stack.options import LOOPBACK, ROOT, Options, Ports, check_ports_free


def arguments(argv: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="local_stack", description="The whole system on one machine.")
    parser.add_argument("--port", type=int, default=8080, help="of the web server; the others follow it")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen at (default: this machine only)")
    parser.add_argument("--demo", type=int, choices=(0, 1), default=1, help="0: no jobs, metrics, simulator")
    parser.add_argument("--archive", type=Path, help="load clusters and jobs of this job archive instead")
    parser.add_argument("--days", type=int, help="only jobs of the archive's last N days")
    parser.add_argument("--var", type=Path, default=ROOT / "var", help="folder that keeps everything")
    chosen = parser.parse_args(argv)
    if chosen.days is not None and (chosen.archive is None or chosen.days < 1):
        parser.error("DAYS is a number of days from 1 and goes with ARCHIVE")
    if chosen.archive is not None and not (chosen.archive / "version.txt").is_file():
        parser.error(f"ARCHIVE={chosen.archive} is no job archive: it has no version.txt")
    return Options(
        Ports(chosen.port),
        chosen.host,
        bool(chosen.demo),
        chosen.archive.resolve() if chosen.archive else None,
        chosen.days,
        chosen.var.resolve(),
    )


def main() -> int:
    try:
        options = arguments()
        check_ports_free(options)
        # Heavy imports after the cheap refusals
        from local_stack.stack import LocalStack

        stack = LocalStack(options)
        # A closed terminal ends everything as Ctrl-C does
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, stack.end)
        try:
            stack.run()
        except KeyboardInterrupt:
            print(flush=True)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            stack.stop()
    except LocalStackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
