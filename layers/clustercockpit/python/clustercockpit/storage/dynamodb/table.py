"""The one table, and how it is talked to.

Every entity is a `TableItem` subclass naming its attributes; a `Table` binds such a class to the table that
the settings describe (`table.model(JobItem)`), so classes cost nothing at import and one process can hold
several tables. Keys and indexes: `docs/decisions/0201-table-keys.md`. Nothing is contacted before the first
operation.

Reads and single writes go through PynamoDB's connection with the SDK's retries. Transactions go through
one without (connect 1 s, read 3 s): a transaction must be over before its change bucket closes, and whether
to try again is decided here, where a lost answer can be told from a refusal.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.attributes import NumberAttribute, TTLAttribute, UnicodeAttribute
from pynamodb.connection import Connection, TableConnection
from pynamodb.exceptions import TransactWriteError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from clustercockpit.errors import InvalidInputError, UnavailableError
from clustercockpit.settings import Settings

TRANSACTION_BUDGET_SECONDS: Final = 10.0
"""A transaction is tried again at most so long after it was begun (ruling 2)."""
CONFLICT_ATTEMPTS: Final = 4
CLOCK_TOLERANCE_SECONDS: Final = 5.0
_log = logging.getLogger(__name__)


class LifecycleIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Sparse: jobs that need attention (running, archiving pending, archiving failed) carry `g1p`."""

    class Meta:
        index_name = "lifecycle"
        projection = AllProjection()

    g1p = UnicodeAttribute(hash_key=True)
    g1s = NumberAttribute(range_key=True)


class TagIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Sparse: the jobs of a tag, over eight shards."""

    class Meta:
        index_name = "by_tag"
        projection = KeysOnlyProjection()

    g2p = UnicodeAttribute(hash_key=True)
    g2s = UnicodeAttribute(range_key=True)


class TableItem(Model):
    """Base of every item. `expires` is the TTL: an aware datetime here, Unix seconds in attribute `ttl`."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    g1p = UnicodeAttribute(null=True)
    g1s = NumberAttribute(null=True)
    g2p = UnicodeAttribute(null=True)
    g2s = UnicodeAttribute(null=True)
    expires = TTLAttribute(attr_name="ttl", null=True)
    lifecycle = LifecycleIndex()
    by_tag = TagIndex()


Item = TypeVar("Item", bound=TableItem)

# What CreateTable is given; the deployment template declares the same (a test compares them).
TABLE_DEFINITION: Final[dict[str, Any]] = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
        {"AttributeName": "g1p", "AttributeType": "S"},
        {"AttributeName": "g1s", "AttributeType": "N"},
        {"AttributeName": "g2p", "AttributeType": "S"},
        {"AttributeName": "g2s", "AttributeType": "S"},
    ],
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "lifecycle",
            "KeySchema": [
                {"AttributeName": "g1p", "KeyType": "HASH"},
                {"AttributeName": "g1s", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        },
        {
            "IndexName": "by_tag",
            "KeySchema": [
                {"AttributeName": "g2p", "KeyType": "HASH"},
                {"AttributeName": "g2s", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        },
    ],
}
TTL_ATTRIBUTE: Final = "ttl"


class Table:
    """The table of one installation."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._models: dict[type[TableItem], type[TableItem]] = {}
        self._reads: TableConnection | None = None
        self._transactions: Connection | None = None
        self._clock_offset: float | None = None
        self._clock_asked = False
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._settings.table_name

    def model(self, item: type[Item]) -> type[Item]:
        """The item class bound to this table; use it for every operation and for building items."""
        bound = self._models.get(item)
        if bound is None:
            bound = self._bind(item)
            self._models[item] = bound
        return cast("type[Item]", bound)

    def _bind(self, item: type[Item]) -> type[TableItem]:
        with self._lock:
            meta = type(
                "Meta",
                (),
                {
                    "table_name": self.name,
                    "region": self._settings.aws_region,
                    "host": self._settings.aws_endpoint_url or None,
                    "connect_timeout_seconds": 1,
                    "read_timeout_seconds": 5,
                    "max_retry_attempts": 3,
                    # As many as there are request threads
                    "max_pool_connections": 40,
                },
            )
            # The class is made by calling its own metaclass, which sets PynamoDB's machinery up
            make_class = cast("Callable[..., type[TableItem]]", type(item))
            bound = make_class(item.__name__, (item,), {"Meta": meta, "__module__": item.__module__})
            # One client for all classes: each would otherwise make its own, for a tenth of a second
            if self._reads is None:
                self._reads = bound._get_connection()
            bound._connection = self._reads
            return bound

    @property
    def transaction_connection(self) -> Connection:
        """Without SDK retries: a transaction that timed out may have happened."""
        if self._transactions is None:
            connection = Connection(
                region=self._settings.aws_region,
                host=self._settings.aws_endpoint_url or None,
                connect_timeout_seconds=1,
                read_timeout_seconds=3,
                max_retry_attempts=0,
                max_pool_connections=16,
            )
            if self._reads is not None:
                # The session holds the parsed description of the service
                connection._local.session = self._reads.connection.session
            events = connection.client.meta.events
            events.register("after-call.dynamodb.TransactWriteItems", self._observe_clock)
            events.register("after-call.dynamodb.GetItem", self._observe_clock)
            self._transactions = connection
        return self._transactions

    def _observe_clock(self, http_response: Any, **_: Any) -> None:
        date = http_response.headers.get("date")
        if date:
            # Stamped in whole seconds: its middle is the best guess
            self._clock_offset = self._clock() - parsedate_to_datetime(date).timestamp() - 0.5

    def _check_clock(self) -> None:
        """A change put into the bucket of a wrong minute would never reach the index (ruling 2)."""
        if not self._clock_asked or self._clock_is_wrong:
            # Before the first write nothing is known, and a wrong clock may have been set right since: any
            # answer tells the time
            client = cast("Any", self.transaction_connection.client)
            try:
                client.get_item(TableName=self.name, Key={"pk": {"S": "SYS"}, "sk": {"S": "CLOCK"}})
            except (BotoCoreError, ClientError) as error:
                raise UnavailableError("the job database did not answer; try again") from error
            self._clock_asked = True
            if self._clock_is_wrong:
                _log.error("clock is %.1f s off the table's; writes are refused", self._clock_offset)
                raise UnavailableError("the clock of this server is wrong; writes are refused")

    @property
    def _clock_is_wrong(self) -> bool:
        return self._clock_offset is not None and abs(self._clock_offset) > CLOCK_TOLERANCE_SECONDS

    def transact(self, build: Callable[[TransactWrite], None]) -> None:
        """Run one write transaction; `build` fills it and is called anew for each attempt.

        Conflicts with another transaction and throttling are tried again with jitter within the budget.
        Raises pynamodb's TransactWriteError for a failed condition (see `failed_conditions`),
        InvalidInputError for what no item can hold (too long, too many), and UnavailableError when the
        outcome is unknown or the table does not answer: the caller must then read what became of it.
        """
        self._check_clock()
        begun = time.monotonic()
        attempt = 1
        while True:
            transaction = TransactWrite(connection=self.transaction_connection)
            build(transaction)
            try:
                transaction._commit()
            except TransactWriteError as error:
                codes = cancellation_codes(error)
                if "ConditionalCheckFailed" in codes:
                    raise
                if not codes:
                    response = getattr(error.cause, "response", None) or {}
                    if response.get("Error", {}).get("Code") == "ValidationException":
                        raise _unstorable(error) from error
                    raise UnavailableError("the job database did not answer; try again") from error
                retryable = all(code in {"None", "TransactionConflict", "ThrottlingError"} for code in codes)
                if "ValidationError" in codes:
                    raise _unstorable(error) from error
                if not retryable:
                    raise
                late = time.monotonic() - begun > TRANSACTION_BUDGET_SECONDS
                if attempt >= CONFLICT_ATTEMPTS or late:
                    raise UnavailableError("the job database is busy; try again") from error
                # Jitter, not secrecy
                time.sleep(random.uniform(0.02, 0.08) * 2**attempt)  # noqa: S311
                attempt += 1
            else:
                return

    def exists(self) -> bool:
        """Whether the table is there. UnavailableError where DynamoDB does not answer, or refuses to say."""
        client = cast("Any", self.transaction_connection.client)
        try:
            client.describe_table(TableName=self.name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return False
            code = error.response["Error"]["Code"]
            raise UnavailableError(f"the table {self.name} cannot be looked at: {code}") from None
        except BotoCoreError as error:
            raise UnavailableError(
                f"DynamoDB does not answer ({type(error).__name__}): set AWS_ENDPOINT_URL, or the "
                "credentials and region of AWS"
            ) from None
        return True

    def create(self) -> None:
        """Create the table with its indexes and TTL. For tests and a fresh local stack."""
        client = cast("Any", self.transaction_connection.client)
        client.create_table(TableName=self.name, **TABLE_DEFINITION)
        client.get_waiter("table_exists").wait(TableName=self.name, WaiterConfig={"Delay": 1})
        client.update_time_to_live(
            TableName=self.name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
        )


def _unstorable(error: TransactWriteError) -> InvalidInputError:
    """Trying again does not help: what was sent does not fit. The table's own words are for the log."""
    response = getattr(error.cause, "response", None) or {}
    _log.error("the table refuses a write: %s", response.get("Error", {}).get("Message", "")[:500])
    return InvalidInputError("this cannot be stored: a part of it is too long or out of range")


def cancellation_codes(error: TransactWriteError) -> list[str]:
    """The reason per item of a cancelled transaction, in the order PynamoDB sends them: condition checks,
    deletes, puts, updates. Empty if it was not cancelled but went unanswered."""
    return [reason.code if reason is not None else "None" for reason in error.cancellation_reasons]


def failed_conditions(error: TransactWriteError) -> bool:
    """Whether a condition of the transaction did not hold."""
    return "ConditionalCheckFailed" in cancellation_codes(error)
