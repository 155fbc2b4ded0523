"""Takes out of a folder of installed wheels what no function reads: `prune.py FOLDER`.

Half of the AWS client is descriptions of services that are not used here.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SERVICES = {"dynamodb", "s3", "sqs", "secretsmanager", "sts"}
UNUSED = ("bin", "boto3/data", "boto3/examples")


def prune(folder: Path) -> None:
    for path in UNUSED:
        shutil.rmtree(folder / path, ignore_errors=True)
    data = folder / "botocore" / "data"
    for service in data.iterdir() if data.is_dir() else ():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    for tests in [*folder.glob("numpy/**/tests"), *folder.glob("**/__pycache__")]:
        shutil.rmtree(tests, ignore_errors=True)


if __name__ == "__main__":
    prune(Path(sys.argv[1]))
