"""The clusters of an installation, kept in step with their documents."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from clustercockpit.clusters import documents
from clustercockpit.clusters.model import Cluster, GlobalMetric, SubCluster
from clustercockpit.clusters.nodelist import NodeList
from clustercockpit.errors import ClusterCockpitError, ConfigurationError, NotFoundError

REREAD_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


class ClusterDocumentSource(Protocol):
    """Where the documents are; `archive.ports.JobArchive` is one."""

    def cluster_names(self) -> Sequence[str]: ...

    def read_cluster_document(self, cluster: str) -> tuple[bytes, str]: ...


class DocumentCatalog:
    """`clusters.ports.ClusterCatalog` over documents.

    Looks for changes at most once a minute, when asked for something. A document that became invalid or
    cannot be read leaves its last good version in place; `problems` tells what is wrong with which.
    """

    def __init__(
        self,
        source: ClusterDocumentSource,
        *,
        interval: float = REREAD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._versions: dict[str, str] = {}  # folder → version seen, good or not
        self._good: dict[str, Cluster] = {}  # folder → last good cluster
        self._problems: dict[str, str] = {}  # folder → what is wrong now
        self._by_name: dict[str, Cluster] = {}

    def clusters(self) -> Sequence[Cluster]:
        self._refresh()
        return list(self._by_name.values())

    def cluster(self, name: str) -> Cluster | None:
        self._refresh()
        return self._by_name.get(name)

    def problems(self) -> Mapping[str, str]:
        """Folder → what is wrong with its document at present."""
        self._refresh()
        return dict(self._problems)

    def global_metrics(self, *, unrestricted_only: bool = False) -> Sequence[GlobalMetric]:
        self._refresh()
        return documents.global_metrics(self._by_name.values(), unrestricted_only=unrestricted_only)

    def sub_cluster_of(self, cluster: str, hostname: str) -> SubCluster | None:
        found = self.cluster(cluster)
        return None if found is None else sub_cluster_of(found, hostname)

    def reread(self) -> None:
        """Look for changes now: for who just wrote a document."""
        self._read_at = None
        self._refresh()

    def _refresh(self) -> None:
        now = self._clock()
        if self._read_at is not None and now - self._read_at < self._interval:
            return
        with self._lock:
            if self._read_at is not None and now - self._read_at < self._interval:
                return
            first = self._read_at is None
            try:
                names = list(self._source.cluster_names())
            except ClusterCockpitError as error:
                if first:
                    raise
                _log.warning("cluster documents cannot be listed, the last ones hold: %s", error)
            else:
                for name in names:
                    self._read(name)
                for gone in self._versions.keys() - set(names):
                    self._forget(gone)
                self._publish()
            self._read_at = now

    def _read(self, folder: str) -> None:
        try:
            content, version = self._source.read_cluster_document(folder)
        except NotFoundError:
            self._forget(folder)  # a folder without a document is no cluster
            return
        except ClusterCockpitError as error:
            self._problems[folder] = f"{folder}/cluster.json cannot be read: {error}"
            _log.warning("%s", self._problems[folder])
            return
        if self._versions.get(folder) == version:
            return
        self._versions[folder] = version
        try:
            document = documents.read_cluster_document(content, folder)
        except ConfigurationError as error:
            self._problems[folder] = str(error)
            remedy = "its last good version holds" if folder in self._good else "the cluster is left out"
            _log.error("%s (%s)", error, remedy)
            return
        self._problems.pop(folder, None)
        self._good[folder] = document.cluster
        for warning in document.warnings:
            _log.warning("%s", warning)

    def _forget(self, folder: str) -> None:
        for known in (self._versions, self._good, self._problems):
            known.pop(folder, None)

    def _publish(self) -> None:
        by_name: dict[str, Cluster] = {}
        for folder in sorted(self._good):
            cluster = self._good[folder]
            if cluster.name in by_name:
                self._problems[folder] = f"{folder}/cluster.json: name: {cluster.name!r} is there twice"
                _log.error("%s", self._problems[folder])
            else:
                by_name[cluster.name] = cluster
        self._by_name = dict(sorted(by_name.items()))


def sub_cluster_of(cluster: Cluster, hostname: str) -> SubCluster | None:
    """The first subcluster in document order whose node list names the host, else the first one if its
    list is `*`."""
    for sub_cluster in cluster.sub_clusters:
        if sub_cluster.nodes != documents.EVERY_NODE and hostname in NodeList.parse(sub_cluster.nodes):
            return sub_cluster
    first = cluster.sub_clusters[0]
    return first if first.nodes == documents.EVERY_NODE else None
