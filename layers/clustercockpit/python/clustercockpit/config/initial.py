"""What `cc-backend -init` puts into an empty directory: an installation that `-server` can start."""

from __future__ import annotations

import json
import os
from pathlib import Path

from clustercockpit.access.keys import fresh_keys
from clustercockpit.errors import ConfigurationError

DOCUMENT = {
    "main": {
        "addr": "127.0.0.1:8080",
        "short-running-jobs-duration": 300,
        "resampling": {"minimum-points": 600, "trigger": 300, "resolutions": [240, 60]},
        "api-allowed-ips": ["*"],
        "emission-constant": 317,
    },
    "cron": {"commit-job-worker": "1m", "duration-worker": "5m", "footprint-worker": "10m"},
    "archive": {"kind": "file", "path": "./var/job-archive"},
    "auth": {"jwts": {"max-age": "2000h"}},
    "metric-store": {"retention-in-memory": "48h", "memory-cap": 100},
}

_ENV = """\
# Secrets of this installation. What the environment already has wins over this file.
# The keys were made for this installation alone; keep the file to yourself.

# Ed25519 pair that signs and checks API tokens
JWT_PUBLIC_KEY="{public}"
JWT_PRIVATE_KEY="{private}"

# Signs the login cookie. To rotate: put the new key before the old one, separated by a comma.
SESSION_KEY="{session}"

# Where the data is: a DynamoDB table, and objects in a bucket or a directory.
CC_TABLE_NAME="clustercockpit"
CC_DATA_BUCKET="./var/data"
# A DynamoDB of your own instead of AWS, such as an emulator:
# AWS_ENDPOINT_URL="http://127.0.0.1:4566"
# The metric store, if it runs:
# CC_METRIC_STORE_URL="http://127.0.0.1:8082"
"""


def initialise(folder: Path) -> list[Path]:
    """Create `config.json`, `.env` and `var` in `folder`; returns what was created. Never overwrites a file.

    Returns nothing if `var` exists: the installation is there already. ConfigurationError if it cannot write.
    """
    var = folder / "var"
    if var.exists():
        return []
    keys = fresh_keys()
    env = _ENV.format(public=keys.public, private=keys.private, session=keys.session)
    files = (
        (folder / "config.json", json.dumps(DOCUMENT, indent=2) + "\n", 0o640),
        (folder / ".env", env, 0o600),
        (var / "job-archive" / "version.txt", "3\n", 0o640),
    )
    created = []
    try:
        for path in (var, var / "job-archive", var / "data"):
            path.mkdir(mode=0o750)
        for path, content, mode in files:
            if not path.exists():
                _write(path, content, mode)
                created.append(path)
    except OSError as error:
        raise ConfigurationError(f"cannot create {error.filename}: {error.strerror}") from None
    return [*created, var]


def _write(path: Path, content: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
