"""What `make run` was asked for: addresses, folders, which data to show."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from local_stack.console import LocalStackError

ROOT = Path(__file__).resolve().parents[3]
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Every port follows from the first, so two stacks run side by side with first ports ten apart."""

    web: int

    def __post_init__(self) -> None:
        if not 1 <= self.web <= 65525:
            raise LocalStackError(f"PORT must be a number from 1 to 65525, got {self.web}")

    @property
    def metric_store(self) -> int:
        return self.web + 2

    @property
    def nats(self) -> int:
        return self.web + 3

    @property
    def nats_monitor(self) -> int:
        return self.web + 4

    @property
    def aws(self) -> int:
        return self.web + 5

    def uses(self) -> dict[int, str]:
        return {
            self.web: "the API and the browser application",
            self.metric_store: "the metric store",
            self.nats: "NATS",
            self.nats_monitor: "NATS monitoring",
            self.aws: "the AWS emulator",
        }


@dataclass(frozen=True)
class Options:
    ports: Ports
    host: str = LOOPBACK
    demo: bool = True
    archive: Path | None = None
    days: int | None = None
    var: Path = ROOT / "var"

    @property
    def reach(self) -> str:
        """The host name that reaches what is bound to `host` from this machine."""
        return LOOPBACK if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104

    @property
    def url(self) -> str:
        return f"http://{self.reach}:{self.ports.web}"

    @property
    def metric_store_url(self) -> str:
        return f"http://{self.reach}:{self.ports.metric_store}"

    @property
    def nats_url(self) -> str:
        return f"nats://{self.reach}:{self.ports.nats}"

    @property
    def aws_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.aws}"

    @property
    def logs(self) -> Path:
        return self.var / "log"

    @property
    def local_json(self) -> Path:
        return self.var / "local.json"


def check_ports_free(options: Options) -> None:
    """Raises LocalStackError naming the first port that something else holds."""
    for port, use in options.ports.uses().items():
        host = LOOPBACK if port == options.ports.aws else options.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except PermissionError:
                raise LocalStackError(
                    f"port {port} (for {use}) needs root; choose a higher one: make run PORT=8080"
                ) from None
            except OSError as error:
                raise LocalStackError(
                    f"port {port} on {host} (for {use}) is taken or not to be had ({error.strerror}). "
                    f"Is another stack running? Choose others: make run PORT={options.ports.web + 10}"
                ) from None
