"""What is sent in a trial, and what must be found afterwards.

The oracle is about slots: of the attempts to write a slot, the last acknowledged one or any later one must be
what is found, with the precision the store promises; a slot that nobody tried to write must be empty.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from cc_metric_store.engine import Engine

CLUSTER = "c"
STEPS = {"fast": 10, "slow": 60}
START = 1_699_999_200  # on the grid of an hour
FUTURE = 300
_SLACK = 3  # seconds around a bound where both outcomes are right

Slot = tuple[str, str, str, int]  # host, metric, component, number of the step since the epoch


@dataclass(frozen=True)
class Sample:
    slot: Slot
    time: int
    value: float
    exact: bool


@dataclass(frozen=True)
class Batch:
    samples: tuple[Sample, ...]
    payload: bytes


class Sender:
    """Batch n of a trial, always the same for the same seed."""

    def __init__(self, seed: int, components: tuple[str, ...] = ("", "hwthread0", "hwthread1")) -> None:
        self.seed = seed
        rng = random.Random(f"sender {seed}")
        self.series = [
            (host, metric, component, rng.randint(-STEPS[metric] // 4 + 1, STEPS[metric] // 4 - 1))
            for host in ("n1", "n2", "n3")
            for metric in STEPS
            for component in components
        ]

    def batch(self, number: int, now: int, *, streamed: bool) -> Batch:
        """Each door has hosts of its own: between doors there is no order (`docs/metric-store.md`)."""
        rng = random.Random(f"{self.seed} {number}")
        samples, lines = [], []
        for host, metric, component, phase in rng.sample(self.series, rng.randint(1, 12)):
            host = "s" + host[1:] if streamed else host
            step = STEPS[metric]
            late = rng.choice((0, 0, 0, rng.randint(0, 5), rng.randint(0, 1000)))
            slot = now // step - late
            jitter = rng.randint(-(step // 8), step // 8)
            value, text, exact = _value(rng)
            time = slot * step + phase + jitter
            samples.append(Sample((host, metric, component, slot), time, value, exact))
            tags = f",type=hwthread,type-id={component[-1]}" if component else ",type=node"
            stamp = rng.choice((str(time), str(time), f"{time}000", f"{time}000000000"))
            lines.append(f"{metric},cluster={CLUSTER},hostname={host}{tags} value={text} {stamp}")
            if rng.random() < 0.05:
                lines.append(
                    rng.choice(("slow,cluster=c,hostn", "nobody,hostname=n1 value=1 1", "fast value=", "#"))
                )
        payload = "\n".join(lines) + "\n"
        if rng.random() < 0.1:
            payload += rng.choice(("slow,cluster=c,hostname=n1,ty", "fast,cluster=c,hostname=n2 va"))  # torn
        return Batch(tuple(samples), payload.encode())


def _value(rng: random.Random) -> tuple[float, str, bool]:
    kind = rng.random()
    if kind < 0.3:
        number = rng.randint(-999_999, 9_999_999)
        return float(number), str(number), True
    if kind < 0.7:
        text = f"{rng.uniform(-9999, 9999):.2f}"
        return float(text), text, True
    if kind < 0.98:
        value = rng.gauss(0, 1) * 10 ** rng.randint(-9, 15)
    else:
        value = rng.choice((1e300, -1e-300, 2.0**60 + 2**20, 0.0))
    return value, repr(value), False


@dataclass
class Attempt:
    number: int
    sample: Sample
    acknowledged: bool = False
    floating: bool = False  # may take effect after later ones


@dataclass
class Oracle:
    """Fed with what the lives of the store tried and acknowledged; judges what is found in the end."""

    retention: int
    attempts: dict[Slot, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    _by_number: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    acknowledged: int = 0

    def tried(self, number: int, samples: Iterable[Sample], arrival: int) -> None:
        for sample in samples:
            ahead = sample.time - arrival
            if ahead > FUTURE + _SLACK or ahead < -self.retention - _SLACK:
                continue  # refused, whatever the answer
            attempt = Attempt(number, sample)
            if ahead >= FUTURE - _SLACK or ahead <= -self.retention + _SLACK:
                attempt.number = -1  # may be refused: never counts as acknowledged
            self.attempts[sample.slot].append(attempt)
            self._by_number[attempt.number].append(attempt)

    def was_acknowledged(self, number: int) -> None:
        for attempt in self._by_number[number]:
            attempt.acknowledged = True
            self.acknowledged += 1

    def was_left(self, number: int) -> None:
        """The sender went away without an answer; what it sent may still be on its way."""
        for attempt in self._by_number[number]:
            attempt.floating = True

    def judge(self, found: dict[Slot, float], now: int) -> list[str]:
        """What is wrong; `now`: what is older than the retention then may be gone."""
        wrong = []
        for slot, value in found.items():
            if slot not in self.attempts:
                wrong.append(f"{slot} holds {value!r}, and nobody wrote it")
        for slot, attempts in self.attempts.items():
            last = max((i for i, a in enumerate(attempts) if a.acknowledged), default=-1)
            allowed = attempts[max(last, 0) :] + [a for a in attempts[: max(last, 0)] if a.floating]
            if slot not in found:
                if last >= 0 and attempts[last].sample.time >= now - self.retention:
                    wrong.append(f"{slot}: acknowledged {attempts[last].sample.value!r} is not there")
            elif not any(_same(a.sample, found[slot]) for a in allowed):
                wrong.append(f"{slot} holds {found[slot]!r}, not {[a.sample.value for a in allowed]!r}")
        return wrong


def _same(sample: Sample, found: float) -> bool:
    if sample.exact:
        return found == sample.value
    return abs(found - sample.value) <= 2.0**-24 * abs(sample.value)


def contents(engine: Engine) -> dict[Slot, float]:
    """Every slot that holds something, by names."""
    found: dict[Slot, float] = {}
    with engine.lock:
        for host, block in engine.blocks():
            metrics = [engine.names.metrics[engine.series.name[s]] for s in block.series[: block.rows]]
            components = [
                engine.names.components[engine.series.component[s]] for s in block.series[: block.rows]
            ]
            for window in block.windows():
                matrix = np.full((block.rows, block.slots), np.nan)
                if window in block.open:
                    matrix[:] = block.open[window][: block.rows]
                elif window in block.sealed:
                    decoded = engine.store.decode(block, block.sealed[window])
                    matrix[: decoded.shape[0]] = decoded
                for (row, column), value in block.patches.get(window, {}).items():
                    matrix[row, column] = value
                for row, column in zip(*np.nonzero(~np.isnan(matrix)), strict=True):
                    component = components[row]
                    key = (host.name, metrics[row], component.name, window * block.slots + int(column))
                    assert key not in found, key
                    assert not component.subname, key
                    found[key] = float(matrix[row, column])
    return found
