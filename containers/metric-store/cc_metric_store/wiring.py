"""From settings and configuration to a service: the container's composition root."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cc_metric_store.catalog import MetricCatalog, StaticCatalog, from_clusters, from_section
from cc_metric_store.configuration import StoreConfiguration
from cc_metric_store.durability import WriteLog
from cc_metric_store.nats_ingest import NatsIngest
from cc_metric_store.protection import JobHosts
from cc_metric_store.retention import ProtectedHosts
from cc_metric_store.segment_log import SegmentLog
from cc_metric_store.segments import DirectorySegments, ObjectSegments
from cc_metric_store.service import Address, Service
from cc_metric_store.tokens import TokenGate
from clustercockpit.config.source import place_of
from clustercockpit.errors import ConfigurationError
from clustercockpit.settings import Settings
from clustercockpit.site import Site

if TYPE_CHECKING:
    from clustercockpit.clusters.ports import ClusterCatalog
    from clustercockpit.storage.objects import ObjectStore

logger = logging.getLogger(__name__)

_MOST_COMMIT_MILLISECONDS = 3000


def build(
    settings: Settings, config: str, address: str, *, authenticate: bool
) -> tuple[Address, Callable[[], Service]]:
    """Where to listen, and how to make the service once an event loop runs. ConfigurationError says what is
    missing or wrong."""
    if not 0 <= settings.metric_store_commit_milliseconds <= _MOST_COMMIT_MILLISECONDS:
        raise ConfigurationError(
            f"CC_METRIC_STORE_COMMIT_MILLISECONDS must be from 0 to {_MOST_COMMIT_MILLISECONDS}: collectors "
            "give up after five seconds"
        )
    if config:
        settings = replace(settings, config_file=config)
    site = Site(settings)
    bucket = (lambda: site.data_objects) if settings.data_bucket else None
    configuration = StoreConfiguration.read(
        place_of(settings.config_file, bucket), lambda: site.configuration
    )
    gate = _gate(settings, authenticate)
    catalog = _catalog(site, configuration)
    objects = _objects(site, configuration)
    place = _address(address or settings.metric_store_address)
    nats = _nats(site, configuration)
    cleanup = _cleanup(site, configuration)

    def make() -> Service:
        return Service(
            configuration,
            catalog,
            objects,
            gate,
            partition=settings.metric_store_partition,
            hosts=_hosts(site, configuration),
            cleanup=cleanup,
            numba_cache=settings.numba_cache_dir,
            log=_log(site, configuration, objects),
            nats=nats,
        )

    return place, make


def _cleanup(site: Site, configuration: StoreConfiguration) -> tuple[ObjectStore, str] | None:
    """Where Parquet files go: a directory, or `s3://bucket/prefix`."""
    if configuration.cleanup_mode != "archive":
        return None
    place = configuration.cleanup_directory
    if place.startswith("s3://"):
        from clustercockpit.storage import aws
        from clustercockpit.storage.s3 import S3ObjectStore

        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigurationError("metric-store.cleanup.directory: s3:// must name a bucket")
        store = S3ObjectStore(bucket, aws.client(site.settings, "s3"))
        return store, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    from clustercockpit.storage.directory import DirectoryObjectStore

    Path(place).mkdir(parents=True, exist_ok=True)
    return DirectoryObjectStore(place), ""


def _hosts(site: Site, configuration: StoreConfiguration) -> ProtectedHosts | None:
    """Hosts that jobs need, where this store belongs to an installation with a job table."""
    if configuration.metrics is not None or not site.settings.archive_bucket:
        return None
    return JobHosts(site.jobs, lambda: [cluster.name for cluster in site.clusters.clusters()])


def _address(text: str) -> Address:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"CC_METRIC_STORE_ADDRESS must be host:port, got {text!r}")
    return Address(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 (":8082" means every interface)


def _gate(settings: Settings, authenticate: bool) -> TokenGate:
    if not authenticate:
        logger.warning("authentication is off: everybody who reaches the port may read and write")
        return TokenGate(None)
    if not settings.jwt_public_key:
        raise ConfigurationError(
            "JWT_PUBLIC_KEY is not set: tokens cannot be checked. Set it, or start with "
            "--without-authentication"
        )
    from clustercockpit.access.keys import public_key
    from clustercockpit.access.tokens import TokenVerifier

    return TokenGate(TokenVerifier(public_key("JWT_PUBLIC_KEY", settings.jwt_public_key)))


def _objects(site: Site, configuration: StoreConfiguration) -> ObjectStore:
    if site.settings.data_bucket:
        if "/" in site.settings.data_bucket:
            Path(site.settings.data_bucket).mkdir(parents=True, exist_ok=True)
        return site.data_objects
    from clustercockpit.storage.directory import DirectoryObjectStore

    directory = Path(configuration.checkpoint_directory)
    directory.mkdir(parents=True, exist_ok=True)
    return DirectoryObjectStore(directory)


def _log(site: Site, configuration: StoreConfiguration, objects: ObjectStore) -> WriteLog:
    """Beside the checkpoints: objects in a bucket, files in a directory."""
    folder = f"checkpoints/{site.settings.metric_store_partition}/log"
    bucket = site.settings.data_bucket
    if bucket and "/" not in bucket:
        interval = site.settings.metric_store_commit_milliseconds / 1000
        return SegmentLog(ObjectSegments(objects, folder), interval=interval)
    directory = Path(bucket or configuration.checkpoint_directory) / folder
    if not site.settings.metric_store_fsync:
        logger.warning("CC_METRIC_STORE_FSYNC is off: a power loss may cost acknowledged writes")
    return SegmentLog(DirectorySegments(directory, fsync=site.settings.metric_store_fsync))


def _nats(site: Site, configuration: StoreConfiguration) -> Callable[[Service], NatsIngest] | None:
    connection = configuration.nats
    if site.settings.nats_url:
        connection = replace(connection, address=site.settings.nats_url)
    if not configuration.subscriptions:
        return None
    if not connection.address:
        logger.warning("metric-store.nats-subscriptions names subjects, but there is no nats.address")
        return None

    def locate(host: str, clusters: Sequence[str]) -> str:
        if not site.settings.archive_bucket:
            return ""
        found = (c for c in clusters if site.clusters.sub_cluster_of(c, host) is not None)
        return next(found, "")

    def make(service: Service) -> NatsIngest:
        return NatsIngest(
            service,
            connection,
            configuration.subscriptions,
            retention=configuration.retention,
            locate=locate,
        )

    return make


def _catalog(site: Site, configuration: StoreConfiguration) -> Callable[[], MetricCatalog]:
    """Asked once a minute: the metrics of all cluster documents, or those of the configuration file."""
    if configuration.metrics is not None:
        fixed = from_section(configuration.metrics)
        return lambda: fixed
    if not site.settings.archive_bucket:
        raise ConfigurationError(
            "no metrics are known: set CC_ARCHIVE_BUCKET to the job archive with the cluster documents, or "
            "put a section `metrics` into the configuration file"
        )
    return _DocumentMetrics(site)


class _DocumentMetrics:
    """Keeps the same catalog object while the documents stay the same."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._of: tuple[object, ...] = ()
        self._current: StaticCatalog = StaticCatalog({})

    def __call__(self) -> MetricCatalog:
        source: ClusterCatalog = self._site.clusters
        clusters = tuple(source.clusters())
        if clusters != self._of or not self._of:
            self._current, self._of = from_clusters(clusters), clusters
        return self._current
