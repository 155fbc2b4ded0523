"""The composition root: which implementation stands behind which port.

One `Site` per process. Everything is built at first use and kept, so that importing an application costs
nothing and a Lambda function pays only for what a request touches. A room is wired here and nowhere else.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from clustercockpit.access.policy import AccessPolicy
from clustercockpit.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from clustercockpit.access.authentication import Authentication
    from clustercockpit.access.login import Login
    from clustercockpit.access.model import User
    from clustercockpit.access.sessions import SessionCookies
    from clustercockpit.access.tokens import ServiceToken, TokenSigner
    from clustercockpit.archive.job_archive import ObjectJobArchive
    from clustercockpit.clusters.catalog import DocumentCatalog
    from clustercockpit.config.configuration import Configuration
    from clustercockpit.config.source import ConfigurationSource
    from clustercockpit.footprints.running import RunningFootprints
    from clustercockpit.index.builder import IndexBuilder
    from clustercockpit.index.engine import Engine
    from clustercockpit.index.ports import IndexHeads, JobIndex
    from clustercockpit.jobs.ports import ArchiveQueue, JobStore
    from clustercockpit.jobs.service import JobService
    from clustercockpit.metrics.live import LiveSource
    from clustercockpit.metrics.loader import MetricLoader
    from clustercockpit.metrics.ports import SeriesStore
    from clustercockpit.nodes.ports import NodeStore
    from clustercockpit.nodes.service import NodeService
    from clustercockpit.storage.dynamodb.change_log import DynamoDBChangeLog
    from clustercockpit.storage.dynamodb.table import Table
    from clustercockpit.storage.dynamodb.users import DynamoUsers
    from clustercockpit.storage.objects import ObjectStore
    from clustercockpit.tags.ports import TagStore
    from clustercockpit.users.accounts import Accounts
    from clustercockpit.users.ui_settings import UiSettings


class Site:
    """All rooms of one installation, wired to the deployment that `settings` describes."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._given_settings = settings

    @cached_property
    def settings(self) -> Settings:
        settings = self._given_settings or Settings.from_environment()
        if settings.auth_secret_arn and not settings.jwt_public_key:
            from clustercockpit.storage.secrets import with_secrets

            return with_secrets(settings)
        return settings

    @cached_property
    def table(self) -> Table:
        """The one DynamoDB table; only `storage` looks inside."""
        from clustercockpit.storage.dynamodb.table import Table

        return Table(self.settings)

    @cached_property
    def archive_objects(self) -> ObjectStore:
        """What the job archive lies in: the reference's layout at its root."""
        archive = self.settings.archive_s3
        if archive is None:
            return self._objects(self.settings.archive_bucket, "CC_ARCHIVE_BUCKET")
        from clustercockpit.storage import aws
        from clustercockpit.storage.s3 import S3ObjectStore

        client = aws.s3_client(
            self.settings,
            endpoint=archive.endpoint,
            region=archive.region,
            access_key=archive.access_key,
            secret_key=archive.secret_key,
            path_style=archive.path_style,
        )
        return S3ObjectStore(self.settings.archive_bucket, client)

    @cached_property
    def data_objects(self) -> ObjectStore:
        """Everything else that is kept as objects: `config/ index/ checkpoints/ cold/` (ruling 9)."""
        return self._objects(self.settings.data_bucket, "CC_DATA_BUCKET")

    def _objects(self, place: str, variable: str) -> ObjectStore:
        """A bucket by name, or a directory by a path with a slash in it."""
        from clustercockpit.errors import ConfigurationError

        if not place:
            raise ConfigurationError(
                f"{variable} is not set: name a bucket, or a directory such as ./var/data"
            )
        if "/" in place:
            from clustercockpit.storage.directory import DirectoryObjectStore

            return DirectoryObjectStore(place)
        from clustercockpit.storage import aws
        from clustercockpit.storage.s3 import S3ObjectStore

        return S3ObjectStore(place, aws.client(self.settings, "s3"))

    @cached_property
    def archive_queue(self) -> ArchiveQueue:
        from clustercockpit.storage import aws
        from clustercockpit.storage.sqs import SqsArchiveQueue

        return SqsArchiveQueue(
            self.settings.archive_queue_url,
            aws.client(self.settings, "sqs"),
            delay_seconds=self.settings.archive_delay_seconds,
        )

    @cached_property
    def clusters(self) -> DocumentCatalog:
        """All configured clusters; follows changes of their documents within a minute."""
        from clustercockpit.clusters.catalog import DocumentCatalog
        from clustercockpit.clusters.objects import ObjectClusterDocuments

        return DocumentCatalog(ObjectClusterDocuments(self.archive_objects))

    @cached_property
    def tags(self) -> TagStore:
        from clustercockpit.storage.dynamodb.tags import DynamoTagStore

        return DynamoTagStore(self.table)

    @cached_property
    def jobs(self) -> JobStore:
        """The truth about jobs."""
        from clustercockpit.storage.dynamodb.jobs import DynamoJobStore

        return DynamoJobStore(
            self.table,
            tags=self.tags.by_ids,
            clusters=lambda: [cluster.name for cluster in self.clusters.clusters()],
            change_shards=self.settings.change_shards,
        )

    @cached_property
    def job_service(self) -> JobService:
        """What REST and NATS do to jobs."""
        from clustercockpit.jobs.service import JobService

        return JobService(self.jobs, self.tags, self.clusters, lambda: self.archive_queue)

    @cached_property
    def nodes(self) -> NodeStore:
        from clustercockpit.storage.dynamodb.nodes import DynamoNodeStore

        return DynamoNodeStore(self.table)

    @cached_property
    def node_service(self) -> NodeService:
        """What REST and NATS do with reports about nodes."""
        from clustercockpit.nodes.health import StoreNodeHealth
        from clustercockpit.nodes.service import NodeService

        url = self.settings.metric_store_url
        health = StoreNodeHealth(url, lambda: self.service_token()) if url else None
        return NodeService(self.nodes, self.clusters, health)

    # Access

    @cached_property
    def configuration_source(self) -> ConfigurationSource:
        """The documents of the configuration, looked at again every 60 s."""
        from clustercockpit.config.source import ConfigurationSource, place_of

        data = (lambda: self.data_objects) if self.settings.data_bucket else None
        place = place_of(self.settings.config_file, data)
        return ConfigurationSource(place, required=bool(self.settings.config_file))

    @property
    def configuration(self) -> Configuration:
        """What holds now: ask again rather than keeping it. ConfigurationError if no document is good."""
        return self.configuration_source.current()

    @property
    def access_policy(self) -> AccessPolicy:
        # Asked on the event loop: whoever serves requests refreshes the source in a thread.
        return self.configuration_source.known().access_policy

    @cached_property
    def users(self) -> DynamoUsers:
        """Accounts, UI settings, session epochs, and attempt budgets."""
        from clustercockpit.storage.dynamodb.users import DynamoUsers

        return DynamoUsers(self.table)

    @cached_property
    def accounts(self) -> Accounts:
        from clustercockpit.users.accounts import Accounts
        from clustercockpit.users.passwords import PasswordCheck

        return Accounts(self.users, self._revoke, PasswordCheck())

    def _revoke(self, username: str) -> None:
        # The command line may run without a session key.
        if self.settings.session_key:
            self.authentication.sessions.revoke(username)
        else:
            self.users.raise_epoch(username)

    @cached_property
    def ui_settings(self) -> UiSettings:
        from clustercockpit.users.ui_settings import UiSettings

        def known(cluster: str, sub_cluster: str | None) -> bool:
            found = self.clusters.cluster(cluster)
            return found is not None and (
                sub_cluster is None or any(sub.name == sub_cluster for sub in found.sub_clusters)
            )

        return UiSettings(self.users, lambda: self.configuration.ui, known)

    @cached_property
    def login(self) -> Login:
        from clustercockpit.access.login import LocalAccounts, Login

        return Login([LocalAccounts(self.accounts)], self.users)

    @property
    def token_signer(self) -> TokenSigner:
        """Issues tokens. UnavailableError where this process has no private key."""
        from clustercockpit.access.tokens import TokenSigner

        return TokenSigner(self._private_key, self.access_policy.token_max_age)

    def check_start(self) -> None:
        """Refuse to serve what would be guarded badly: missing or short keys, a configuration that cannot be
        understood, or one that asks for guards which are not active yet. ConfigurationError says what to do.

        A process that only verifies tokens needs no private key.
        """
        from clustercockpit.access.keys import check_keys
        from clustercockpit.config.activity import refuse_inactive

        refuse_inactive(self.configuration, accept=self.settings.accept_inactive_keys)
        if not self.access_policy.authentication_disabled:
            check_keys(self.settings)

    @cached_property
    def service_token(self) -> ServiceToken:
        """`site.service_token()` is the bearer token for the metric store. UnavailableError without a key."""
        from clustercockpit.access.tokens import ServiceToken

        return ServiceToken(self._private_key)

    @cached_property
    def _private_key(self) -> Ed25519PrivateKey:
        from clustercockpit.access.keys import private_key
        from clustercockpit.errors import UnavailableError

        if not self.settings.jwt_private_key:
            raise UnavailableError("tokens cannot be issued here: JWT_PRIVATE_KEY is not set")
        return private_key("JWT_PRIVATE_KEY", self.settings.jwt_private_key)

    @cached_property
    def _session_cookies(self) -> SessionCookies:
        from clustercockpit.access.keys import session_keys
        from clustercockpit.access.sessions import SessionCookies

        keys = session_keys(self.settings.session_key)
        return SessionCookies(keys, self.access_policy.session_max_age, self.users)

    def _sessions(self) -> SessionCookies:
        cookies = self._session_cookies
        cookies.max_age = self.access_policy.session_max_age
        return cookies

    def _user_with_account(self, username: str) -> User | None:
        account = self.users.get(username)
        return account.user() if account is not None else None

    @cached_property
    def authentication(self) -> Authentication:
        from clustercockpit.access.authentication import Authentication
        from clustercockpit.access.keys import public_key
        from clustercockpit.access.tokens import TokenVerifier

        text = self.settings.jwt_public_key
        return Authentication(
            policy=lambda: self.access_policy,
            tokens=TokenVerifier(public_key("JWT_PUBLIC_KEY", text) if text else None),
            sessions=self._sessions,
            account=self._user_with_account,
        )

    @cached_property
    def archive(self) -> ObjectJobArchive:
        from clustercockpit.archive.job_archive import ObjectJobArchive

        return ObjectJobArchive(self.archive_objects)

    @cached_property
    def index_engine(self) -> Engine:
        """The embedded database behind the job index."""
        from clustercockpit.index.engine import Engine
        from clustercockpit.index.files import private_folder

        return Engine(private_folder("clustercockpit-index-scratch"))

    @cached_property
    def running_footprints(self) -> RunningFootprints:
        """The newest footprints of running jobs, for answers."""
        from clustercockpit.footprints.running import RunningFootprints

        return RunningFootprints(self.data_objects)

    @cached_property
    def change_log(self) -> DynamoDBChangeLog:
        from clustercockpit.storage.dynamodb.change_log import DynamoDBChangeLog

        return DynamoDBChangeLog(self.table)

    @cached_property
    def index_heads(self) -> IndexHeads:
        from clustercockpit.storage.dynamodb.index_head import DynamoDBIndexHeads

        return DynamoDBIndexHeads(self.table)

    @cached_property
    def job_index(self) -> JobIndex:
        """Lists, counts and statistics over all jobs."""
        from clustercockpit.index.files import private_folder
        from clustercockpit.index.reader import ColumnarJobIndex

        return ColumnarJobIndex(
            self.index_engine,
            self.data_objects,
            self.index_heads,
            self.change_log,
            self.jobs,
            private_folder("clustercockpit-index", self.settings.data_bucket),
            shards=self.settings.change_shards,
            running_footprints=self.running_footprints.current,
        )

    @cached_property
    def index_builder(self) -> IndexBuilder:
        from clustercockpit.index.builder import IndexBuilder
        from clustercockpit.index.files import private_folder
        from clustercockpit.storage.dynamodb.job_scan import DynamoDBJobScan

        return IndexBuilder(
            self.index_engine,
            self.data_objects,
            self.index_heads,
            self.change_log,
            DynamoDBJobScan(self.table),
            private_folder("clustercockpit-index", self.settings.data_bucket),
            shards=self.settings.change_shards,
        )

    @cached_property
    def metrics(self) -> MetricLoader:
        """Series of any job, live or archived."""
        from clustercockpit.metrics.archived import ArchivedSource
        from clustercockpit.metrics.loader import MetricLoader

        archived = ArchivedSource(self.archive, self.clusters, minimum_points=self._minimum_points)
        return MetricLoader(self.live_metrics, archived)

    @cached_property
    def live_metrics(self) -> LiveSource:
        from clustercockpit.metrics.choice import StoreChoice
        from clustercockpit.metrics.live import LiveSource

        store_of = StoreChoice(lambda: self.metric_store, lambda: self.configuration.external_stores)
        return LiveSource(store_of, self.clusters, minimum_points=self._minimum_points)

    def _minimum_points(self) -> int:
        resampling = self.configuration.main.resampling
        return 1000 if resampling is None else resampling.effective_minimum_points

    @cached_property
    def metric_store(self) -> SeriesStore:
        """Our own metric store."""
        from clustercockpit.metrics.store_client import MetricStoreClient

        return MetricStoreClient(self.settings.metric_store_url, lambda: self.service_token())
