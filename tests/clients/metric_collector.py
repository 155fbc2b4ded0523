"""Plays cc-metric-collector's HTTP sink: the lines it writes, and how it takes answers.

The facts are those of `spec/metric-store.md` chapter 2 and `spec/rest-and-nats-api.md` 13.2: tags sorted by
key, one field `value`, seconds; the configured URL verbatim; 200 and nothing else is success, a refused batch
is dropped, and only a broken transport is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True)
class Sample:
    name: str
    value: float | int
    time: int  # Unix seconds
    tags: Mapping[str, str] = field(default_factory=dict)

    def line(self, cluster: str, host: str) -> str:
        tags = {"cluster": cluster, "hostname": host, "type": "node", **self.tags}
        text = ",".join(f"{key}={value}" for key, value in sorted(tags.items()))
        return f"{self.name},{text} value={go_number(self.value)} {self.time}\n"


def go_number(value: float | int) -> str:
    """Whole numbers with the suffix `i`, floats in the shortest form."""
    if isinstance(value, int):
        return f"{value}i"
    text = repr(float(value))
    if 1e-4 <= abs(value) < 1e6 or value == 0:
        return text.removesuffix(".0")
    for digits in range(17):
        text = f"{value:.{digits}e}"
        if float(text) == value:
            break
    return text


@dataclass
class MetricCollector:
    """The sink of one node. `url` is the configured one, typically `…/api/write?cluster=NAME`."""

    client: httpx.Client
    url: str
    token: str
    cluster: str
    host: str
    dropped: int = 0  # batches lost
    last_answer: httpx.Response | None = None

    def flush(self, samples: Iterable[Sample]) -> bool:
        """Send one batch; whether it was taken."""
        return self.post("".join(s.line(self.cluster, self.host) for s in samples).encode())

    def post(self, body: bytes) -> bool:
        """Send a body as it is; whether it was taken."""
        headers = {
            "Authorization": f"Bearer {self.token}",
            "User-Agent": "Go-http-client/1.1",
            "Accept-Encoding": "gzip",
        }
        for _ in range(3):
            try:
                # Content of bytes: no Content-Type is added, as the sink sends none.
                answer = self.client.request("POST", self.url, content=body, headers=headers)
            except httpx.TransportError:
                continue
            self.last_answer = answer
            if answer.status_code == 200:
                return True
            break
        self.dropped += 1
        return False


def cpu_statistics(time: int, threads: int, user: float = 73.25) -> Iterator[Sample]:
    """The CPU collector's samples of one interval: ten shares and their sum for the node and every thread,
    of which a site usually has configured one."""
    shares = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    unit = {"unit": "Percent"}
    for name in shares:
        value = user if name == "user" else 100 - user if name == "idle" else 0.0
        yield Sample(f"cpu_{name}", value, time, unit)
        for thread in range(threads):
            yield Sample(f"cpu_{name}", value, time, {"type": "hwthread", "type-id": str(thread), **unit})
    yield Sample("cpu_used", user, time, unit)
    yield Sample("num_cpus", threads, time)


def interval(time: int, threads: int = 72, sockets: int = 2, domains: int = 4) -> list[Sample]:
    """What one CPU node sends each interval: well over half of it unknown to the store."""
    samples = [
        Sample("cpu_load", 71.98, time),
        Sample("load_five", 71.5, time),
        Sample("proc_run", 73, time),
        Sample("mem_used", 88.50331564986737, time),
        Sample("mem_total", 256.0, time),
        Sample("ib_recv", 1.2345675e6, time, {"device": "mlx5_0", "port": "1", "lid": "12"}),
        Sample("nfsio_nread", 0.0, time, {"stype": "filesystem", "stype-id": "/home"}),
    ]
    samples += cpu_statistics(time, threads)
    for thread in range(threads):
        at = {"type": "hwthread", "type-id": str(thread)}
        samples.append(Sample("flops_any", 9.25 + thread / 64, time, at))
        samples.append(Sample("cpufreq", 2.4e9, time, at))
        samples.append(Sample("ipc", 1.75, time, {"type": "core", "type-id": str(thread)}))
    for socket in range(sockets):
        samples.append(Sample("cpu_power", 181.5, time, {"type": "socket", "type-id": str(socket)}))
    for domain in range(domains):
        samples.append(Sample("mem_bw", 42.125, time, {"type": "memoryDomain", "type-id": str(domain)}))
    return samples


EVENT_LINE = 'slurm,cluster=c,hostname=h,type=node event="{\\"job\\": 1}" 1750000000\n'
LOG_LINE = 'collectorlog,hostname=h,level=INFO,type=node log="started, \\"quoted\\"" 1750000000\n'
