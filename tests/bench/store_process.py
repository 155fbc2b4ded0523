"""A metric store as a process of its own, for the benchmarks of what comes through its doors."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from tests.bench import collector_load as load

REPOSITORY = Path(__file__).parents[2]
ROOTS = [str(REPOSITORY / part) for part in ("layers/clustercockpit/python", "containers/metric-store", ".")]
CACHE = os.environ.get("NUMBA_CACHE_DIR") or "/tmp/cc-numba-cache"
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """What a process has used so far, user and system (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Process:
    """A store process of its own, in a folder of its own, without authentication."""

    def __init__(self, folder: Path, nats: str = "", *, compiled: bool = True) -> None:
        self.port = free_port()
        metrics = {
            m.name: {"frequency": m.timestep, "aggregation": m.aggregation, "scope": m.scope}
            for m in load.catalog().metrics("fritz").values()
        }
        section: dict[str, object] = {"retention-in-memory": "48h", "memory-cap": 0}
        if nats:
            section["nats-subscriptions"] = [{"subscribe-to": "hpc-nats", "cluster-tag": "fritz"}]
        config = {"metric-store": section, "metrics": metrics, "nats": {"address": nats} if nats else None}
        (folder / "config.json").write_bytes(orjson.dumps({k: v for k, v in config.items() if v}))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(ROOTS),
            "CC_METRIC_STORE_ADDRESS": f"127.0.0.1:{self.port}",
            "CC_CONFIG_FILE": str(folder / "config.json"),
            "CC_DATA_BUCKET": str(folder / "data"),
            "CC_LOG_LEVEL": "crit",
            # A file where its cache folder should be keeps the kernel from loading: the plain path stays
            "NUMBA_CACHE_DIR": CACHE if compiled else str(folder / "config.json"),
        }
        command = [sys.executable, "-m", "cc_metric_store", "--without-authentication"]
        self.process = subprocess.Popen(command, env=environment)
        if compiled:
            self.until("cc_store_kernel", 1)
        self.until("cc_store_ready", 1)

    def figure(self, line: str) -> float:
        """A line of /metrics, 0 where it is not there (yet)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except OSError:
            return 0.0
        finally:
            connection.close()
        found = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line)]
        return float(found[0]) if found else 0.0

    def until(self, line: str, least: float, seconds: float = 120) -> None:
        limit = time.monotonic() + seconds
        while self.figure(line) < least:
            if time.monotonic() > limit or self.process.poll() is not None:
                raise RuntimeError(f"{line} did not reach {least}")
            time.sleep(0.05)

    def processor_seconds(self) -> float:
        return processor_seconds(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def post(
    port: int, batches: list[bytes], path: str = "/api/write?cluster=fritz", connections: int = 32
) -> None:
    """Send the batches over several connections at a time, as many collectors do."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for batch in batches:
        waiting.put(batch)
    failed: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.suppress(queue.Empty), contextlib.closing(connection):
            while not failed:
                connection.request("POST", path, waiting.get_nowait())
                answer = connection.getresponse()
                answer.read()
                if answer.status not in (200, 204):
                    failed.append(f"status {answer.status}")

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(failed[0])


@contextlib.contextmanager
def victoria_metrics(program: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Debian's victoria-metrics on a free port with a folder of its own: (process id, port)."""
    port = free_port()
    command = [program, f"-storageDataPath={folder / 'victoria'}", f"-httpListenAddr=127.0.0.1:{port}"]
    with (folder / "victoria.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > limit or process.poll() is not None:
                    raise RuntimeError((folder / "victoria.log").read_text()[-1000:]) from None
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(60)
