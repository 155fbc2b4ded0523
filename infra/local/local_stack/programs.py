"""The processes beside the emulator: NATS, the container's two, the web server, the simulator."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from local_stack.console import LocalStackError
from local_stack.options import ROOT, Options
from local_stack.supervision import Program, answers


def accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def nats(options: Options, environment: Mapping[str, str]) -> Program:
    """NATS with JetStream, its streams on file under var."""
    binary = Path(sys.executable).parent / "nats-server"
    command = str(binary) if binary.is_file() else shutil.which("nats-server")
    if not command:
        raise LocalStackError("nats-server is missing from the environment: make clean, then make run")
    folder = options.var / "nats"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "nats.conf"
    file.write_text(
        f'listen: "{options.host}:{options.ports.nats}"\n'
        f'http: "127.0.0.1:{options.ports.nats_monitor}"\n'
        f'jetstream {{ store_dir: "{folder}", max_file_store: 8GB, sync_interval: "1s" }}\n'
        "max_payload: 8MB\n"
    )
    return Program(
        "nats-server",
        [command, "-c", str(file)],
        environment,
        options.logs / "nats.log",
        ready=lambda: answers(f"http://127.0.0.1:{options.ports.nats_monitor}/healthz"),
    )


def metric_store(options: Options, environment: Mapping[str, str]) -> Program:
    return Program(
        "the metric store",
        [sys.executable, "-m", "cc_metric_store"],
        {
            **environment,
            "CC_METRIC_STORE_ADDRESS": f"{options.host}:{options.ports.metric_store}",
            # Compiling takes half a minute of a core: a folder that several stacks share may be given
            "NUMBA_CACHE_DIR": environment.get("NUMBA_CACHE_DIR") or str(options.var / "numba"),
            # The bucket is on this machine; on AWS a request every two seconds is what is paid for
            "CC_METRIC_STORE_COMMIT_MILLISECONDS": "100",
        },
        options.logs / "metric-store.log",
        ready=lambda: accepts(options.reach, options.ports.metric_store),
        # The last checkpoint
        stop_seconds=60,
    )


def job_events(options: Options, environment: Mapping[str, str]) -> Program:
    return Program(
        "the NATS subscriber",
        [sys.executable, "-m", "cc_job_events"],
        environment,
        options.logs / "job-events.log",
    )


def web(options: Options, environment: Mapping[str, str]) -> Program:
    return Program(
        "the web server",
        [
            *(sys.executable, "-m", "uvicorn", "local_stack.web:create", "--factory"),
            *("--host", options.host, "--port", str(options.ports.web), "--no-access-log"),
            # What nodes post may be large and slow; a closed connection costs a collector its retry
            *("--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "5"),
        ],
        environment,
        options.logs / "web.log",
        ready=lambda: accepts(options.reach, options.ports.web),
    )


def simulator(options: Options, environment: Mapping[str, str]) -> Program:
    return Program(
        "the simulator",
        [sys.executable, "-m", "simulator", "--local", str(options.local_json)],
        environment,
        options.logs / "simulator.log",
        stop_seconds=10,
    )


def environment(
    options: Options, credentials: Mapping[str, str], keys: Mapping[str, str], outputs: Mapping[str, str]
) -> dict[str, str]:
    """What the settings room reads, for a process of this stack."""
    from local_stack.supervision import base_environment

    return {
        **base_environment(),
        **credentials,
        **keys,
        "AWS_ENDPOINT_URL": options.aws_url,
        "CC_TABLE_NAME": outputs["TableName"],
        "CC_ARCHIVE_BUCKET": outputs["ArchiveBucketName"],
        "CC_DATA_BUCKET": outputs["DataBucketName"],
        "CC_ARCHIVE_QUEUE_URL": outputs["ArchiveQueueUrl"],
        "CC_METRIC_STORE_URL": options.metric_store_url,
        "CC_CONFIG_FILE": str(options.var / "config.json"),
        "CC_WEB_ROOT": str(ROOT / "web" / "dist"),
        "CC_ARCHIVE_DELAY_SECONDS": "5",
        "PYTHONUNBUFFERED": "1",
    }


def installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
