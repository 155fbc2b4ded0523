"""Which rows of a block belong to a metric, and to which components. Hosts of one kind share the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class MetricRows:
    """Rows of one metric, their components, and the way back."""

    rows: NDArray[np.int64]
    components: NDArray[np.int32]
    by_component: dict[int, int]  # component id → row


@dataclass(slots=True)
class Directory:
    """The rows of a block as of `rows`."""

    names: NDArray[np.int32]
    components: NDArray[np.int32]
    _metrics: dict[int, MetricRows | None] = field(default_factory=dict)

    def metric(self, name: int) -> MetricRows | None:
        """The rows of a metric, None if the block has none."""
        if name not in self._metrics:
            rows = np.flatnonzero(self.names == name)
            found = None
            if len(rows):
                components = self.components[rows]
                table = dict(zip(components.tolist(), rows.tolist(), strict=True))
                found = MetricRows(rows, components, table)
            self._metrics[name] = found
        return self._metrics[name]
