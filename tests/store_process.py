"""A metric store of our own, as a process on a free loopback port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.identities import KEYS

ROOT = Path(__file__).parents[1]
START_SECONDS = 30
# The least a site's configuration has, and a store that keeps as much as ours do.
DOCUMENT = {
    "main": {},
    "auth": {"jwts": {"max-age": "2000h"}},
    "metric-store": {"retention-in-memory": "48h", "memory-cap": 1},
}


@contextmanager
def running_store(folder: Path, archive: str) -> Iterator[str]:
    """The address of a store that knows the clusters of `archive` (a directory with a slash at its end) and
    trusts tokens of `tests.identities`. It ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "store.json"
    config.write_text(json.dumps(DOCUMENT))
    rooms = ("layers/clustercockpit/python", "containers/metric-store")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CC_"))},
        "PYTHONPATH": os.pathsep.join(str(ROOT / room) for room in rooms),
        "CC_METRIC_STORE_ADDRESS": address,
        "CC_CONFIG_FILE": str(config),
        "CC_ARCHIVE_BUCKET": archive,
        "CC_DATA_BUCKET": f"{folder}/store/",
        "JWT_PUBLIC_KEY": KEYS.public,
    }
    with (folder / "store.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cc_metric_store"], env=environment, stdout=log, stderr=log
        )
    try:
        limit = time.monotonic() + START_SECONDS
        while not _ready(address):
            if process.poll() is not None or time.monotonic() > limit:
                raise AssertionError(
                    "the store did not start:\n" + (folder / "store.log").read_text()[-2000:]
                )
            time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def install_demo_clusters(archive: Path) -> None:
    """The demo clusters' documents in an empty job archive."""
    from simulator.clusters import documents

    for name, text in documents().items():
        folder = archive / name
        folder.mkdir(parents=True)
        (folder / "cluster.json").write_bytes(text)
    (archive / "version.txt").write_text("3")
