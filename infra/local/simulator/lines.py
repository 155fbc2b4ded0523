"""Line protocol as cc-metric-collector writes it: one value a line, tags sorted, times in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from simulator.clusters import Metric
from simulator.nodes import Node
from simulator.noise import Floats, Ints

# Tags a collector adds that no store knows: they must not disturb.
_EXTRA_TAGS: Mapping[str, Mapping[str, str]] = {
    "cpu_user": {"unit": "Percent"},
    **{m: {"device": "mlx5_0", "lid": "37", "port": "1"} for m in
       ("ib_recv", "ib_xmit", "ib_recv_pkts", "ib_xmit_pkts")},
    **{m: {"device": "scratch-ffff9a3c"} for m in
       ("file_read", "file_write", "file_requests", "file_opens", "file_closes", "file_attributes")},
}  # fmt: skip
# Values the kernel or the driver gives as whole numbers, with the suffix of a signed one.
_WHOLE = frozenset({"acc_processes"})
# Decimals a sensor has; everything else is written in full precision.
_DECIMALS = {
    "cpu_load": 2,
    "mem_used": 6,
    "acc_power": 3,
    "acc_mem_used": 6,
    "acc_temp": 0,
    "acc_sm_clock": 0,
}
# Hardware counters are stamped when the measurement is done.
_STAMPED_LATE = frozenset({"flops_any", "ipc", "clock", "mem_bw", "cpu_power", "mem_power"})


def number(value: float) -> str:
    """A float in Go's shortest `g` form: no trailing `.0`, an exponent from 1e+06 up and below 1e-04."""
    text = repr(value)
    if 1e-4 <= value < 1e6 or value == 0:
        return text.removesuffix(".0")
    # repr has the shortest digits but not always as an exponent: take its digits, and their place.
    digits = text.partition("e")[0].replace(".", "").replace("-", "").strip("0") or "0"
    power = Decimal(text).adjusted()
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{'-' if value < 0 else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


@dataclass(frozen=True)
class _Column:
    """One series of a node: the text before its value, and where the value is found."""

    metric: str
    unit: int
    head: str


class Encoder:
    """The lines of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._late = 0 if node.phase % 2 else 1  # half of the collectors stamp a whole interval alike
        self._fine = self._columns(15)
        self._coarse = self._columns(60)
        tags = f"cluster={node.cluster.name},hostname={node.host},type=node"
        # A collector sends far more than a site has configured; the store skips those.
        self._unknown = (f"load_five,{tags} value=", f"proc_total,{tags} value=")
        self._user_of_node = f"cpu_user,{tags},unit=Percent value="

    def _columns(self, step: int) -> tuple[_Column, ...]:
        columns = []
        for metric in self.node.cluster.metrics.values():
            if metric.step != step:
                continue
            for unit, tags in enumerate(self._unit_tags(metric)):
                tags = {"cluster": self.node.cluster.name, "hostname": self.node.host, **tags}
                text = ",".join(f"{k}={v}" for k, v in sorted(tags.items()))
                columns.append(_Column(metric.name, unit, f"{metric.name},{text} value="))
        return tuple(columns)

    def _unit_tags(self, metric: Metric) -> Iterator[dict[str, str]]:
        shape = self.node.shape
        extra = dict(_EXTRA_TAGS.get(metric.name, {}))
        ids: Sequence[object] = {
            "node": ("",),
            "socket": range(len(shape.sockets)),
            "memoryDomain": range(len(shape.domains)),
            "core": range(len(shape.cores)),
            "hwthread": range(shape.threads),
            "accelerator": shape.accelerators,
        }[metric.scope]
        for unit in ids:
            tags = {"type": metric.scope, **extra}
            yield tags if metric.scope == "node" else {**tags, "type-id": str(unit)}

    def encode(self, ticks: Ints, values: Mapping[str, Floats]) -> list[tuple[int, str]]:
        """(tick, the lines of that interval) for every tick, oldest first."""
        coarse = {int(position) for position in self.node.coarse(ticks)}
        fine_texts = self._texts(self._fine, values, range(len(ticks)))
        coarse_texts = self._texts(self._coarse, values, sorted(coarse))
        fine_heads = [(c.head, c.metric in _STAMPED_LATE) for c in self._fine]
        coarse_heads = [(c.head, c.metric in _STAMPED_LATE) for c in self._coarse]
        batches, minute = [], 0
        for row, tick in enumerate(ticks.tolist()):
            stamps = (f" {tick}\n", f" {tick + self._late}\n")
            lines = [h + v + stamps[late] for (h, late), v in zip(fine_heads, fine_texts[row], strict=True)]
            if row in coarse:
                lines += [
                    h + v + stamps[late]
                    for (h, late), v in zip(coarse_heads, coarse_texts[minute], strict=True)
                ]
                minute += 1
                load = float(values["cpu_load"][row, 0])
                user = float(values["cpu_user"][row].mean())
                lines.append(f"{self._user_of_node}{number(user)}{stamps[0]}")
                lines.append(f"{self._unknown[0]}{number(round(load, 2))}{stamps[0]}")
                lines.append(f"{self._unknown[1]}{int(400 + load)}i{stamps[0]}")
            batches.append((tick, "".join(lines)))
        return batches

    def _texts(
        self, columns: Sequence[_Column], values: Mapping[str, Floats], rows: Sequence[int]
    ) -> list[list[str]]:
        """A row of value texts per tick, in column order."""
        texts: list[list[str]] = [[] for _ in rows]
        seen = dict.fromkeys(c.metric for c in columns)
        picked = list(rows)
        for metric in seen:
            block = values[metric][picked]
            if metric in _DECIMALS:
                block = block.round(_DECIMALS[metric])
            for text, row in zip(texts, block.tolist(), strict=True):
                text += [f"{int(v)}i" for v in row] if metric in _WHOLE else map(number, row)
        return texts
