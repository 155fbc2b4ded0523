"""Cluster documents where the job archive keeps them: `<cluster>/cluster.json`."""

from __future__ import annotations

from collections.abc import Sequence

from clustercockpit.storage.objects import ObjectStore


class ObjectClusterDocuments:
    """A `catalog.ClusterDocumentSource` over the object store of the archive."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def cluster_names(self) -> Sequence[str]:
        return list(self._objects.list_folders())

    def read_cluster_document(self, cluster: str) -> tuple[bytes, str]:
        return self._objects.get(f"{cluster}/cluster.json")
