"""Which metric store has a cluster's series: ours, or an external one that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from clustercockpit.metrics.external_store import ExternalStoreClient
from clustercockpit.metrics.ports import SeriesStore


class StoreEntry(Protocol):
    """An entry of `metric-store-external`."""

    @property
    def scope(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...


class StoreChoice:
    """Asks the configuration anew at each choice; clients are kept."""

    def __init__(self, own: Callable[[], SeriesStore], entries: Callable[[], Sequence[StoreEntry]]) -> None:
        self._own = own
        self._entries = entries
        self._clients: dict[tuple[str, str], ExternalStoreClient] = {}

    def __call__(self, cluster: str, sub_cluster: str) -> SeriesStore:
        """The store of scope `<cluster>-<subcluster>`, else `<cluster>`, else `*`, else our own. Of entries
        with one scope the last counts."""
        by_scope = {entry.scope: entry for entry in self._entries()}
        for scope in (f"{cluster}-{sub_cluster}", cluster, "*"):
            entry = by_scope.get(scope)
            if entry is not None:
                key = (entry.url, entry.token)
                if key not in self._clients:
                    self._clients[key] = ExternalStoreClient(*key)
                return self._clients[key]
        return self._own()
