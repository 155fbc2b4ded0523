"""The AWS emulator as a process, and whether its last end was a clean one.

It keeps objects on disk as they are written, everything else in memory until it ends. A mark lies in its
folder while it runs. It takes that away itself once it has saved its memory, so that an end without us (this
process killed, the terminal closed) counts as the clean end it is. A mark found at start says that table,
queue and functions of the last run are lost.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from local_stack.options import LOOPBACK, ROOT, Options
from local_stack.supervision import Program, answers, base_environment

REGION = "eu-central-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    # Nothing may look for credentials of the machine
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}

SERVE = """
import pathlib, sys
mark = pathlib.Path(sys.argv.pop())
from ministack.app import main
main()
mark.unlink(missing_ok=True)
"""


class Emulator:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.folder = options.var / "aws"
        self.mark = self.folder / "running"
        self.rebuild_mark = self.folder / "rebuild"
        self.deployed = self.folder / "deployed.json"

    @property
    def has_objects(self) -> bool:
        return (self.folder / "s3").is_dir() and any((self.folder / "s3").iterdir())

    @property
    def ended_uncleanly(self) -> bool:
        return self.mark.exists()

    def forget_all_but_objects(self) -> None:
        """Start from fresh state, as after an unclean end: a half-saved state is not to be trusted. That the
        archive must be read back is remembered until it was."""
        if self.has_objects:
            self.rebuild_mark.write_text("")
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        self.deployed.unlink(missing_ok=True)

    def program(self) -> Program:
        scratch = self.folder / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in (scratch, self.folder / "state", self.folder / "s3"):
            folder.mkdir(parents=True, exist_ok=True)
        python = ROOT / ".venv-aws" / "bin" / "python"
        return Program(
            "the AWS emulator",
            [str(python), "-c", SERVE, str(self.mark)],
            {
                **base_environment(),
                **CREDENTIALS,
                "GATEWAY_PORT": str(self.options.ports.aws),
                "BIND_HOST": LOOPBACK,
                "MINISTACK_REGION": REGION,
                "PERSIST_STATE": "1",
                "STATE_DIR": str(self.folder / "state"),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(self.folder / "s3"),
                "TMPDIR": str(scratch),
                "LOG_LEVEL": "WARNING",
                # Doors of services that are not used here
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "PYTHONUNBUFFERED": "1",
            },
            self.options.logs / "aws.log",
            ready=lambda: answers(f"{self.options.aws_url}/_ministack/health"),
            stop_seconds=60,
            restarts=False,
            directory=scratch,
        )

    def started(self) -> None:
        self.mark.write_text("")

    def rebuilt(self) -> None:
        self.rebuild_mark.unlink(missing_ok=True)


def python_path() -> str:
    """Where the functions' code and libraries lie on this machine: the project's own environment."""
    site = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    return ":".join(str(path) for path in (ROOT / "layers/clustercockpit/python", site))
