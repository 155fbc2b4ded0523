"""The door of the clusters room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from clustercockpit.clusters.model import Cluster, GlobalMetric, SubCluster


class ClusterCatalog(Protocol):
    """All configured clusters, validated. Implementations re-read changed documents (every 60 s by ETag)
    and keep serving the last good version of a document that became invalid."""

    def clusters(self) -> Sequence[Cluster]:
        """All clusters by name, ascending."""
        ...

    def cluster(self, name: str) -> Cluster | None: ...

    def problems(self) -> Mapping[str, str]:
        """Cluster folder → what is wrong with its document at present."""
        ...

    def global_metrics(self, *, unrestricted_only: bool = False) -> Sequence[GlobalMetric]:
        """One entry per metric name over all clusters; `unrestricted_only` as ordinary users see them."""
        ...

    def sub_cluster_of(self, cluster: str, hostname: str) -> SubCluster | None:
        """The subcluster whose node list names the host; the first one if its list is `*`; else None."""
        ...
