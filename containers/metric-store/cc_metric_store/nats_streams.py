"""The JetStream stream behind a subject: found, or made, and judged."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StoreCompression, StreamConfig, StreamInfo

logger = logging.getLogger(__name__)

_MARGIN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class StreamFacts:
    name: str
    created: str
    first: int  # sequences that are there
    last: int
    alone: bool  # the stream holds nothing but our subject, so that its sequences have no gaps
    short: bool  # it keeps less than is needed after a crash


async def stream_for(client: Client, subject: str, retention: int) -> StreamFacts | None:
    """The stream that keeps the subject, made if there is none. None: JetStream cannot be used for it."""
    js = client.jetstream()
    try:
        await js.account_info()
    except (nats.js.errors.APIError, nats.errors.NoRespondersError) as error:
        if isinstance(error, nats.js.errors.ServiceUnavailableError) and client.is_connected:
            logger.warning("NATS: JetStream is not enabled on the server or for this account")
        return None
    try:
        name = await js.find_stream_name_by_subject(subject)
    except nats.js.errors.NotFoundError:
        made = await _make(js, subject, retention)
        return None if made is None else _facts(made, subject, retention)
    info = await js.stream_info(name)
    if not any(covers(one, subject) for one in info.config.subjects or []):
        logger.error(
            "stream %s keeps %s and so a part of %s only: extend its subjects",
            name,
            info.config.subjects,
            subject,
        )
        return None
    if info.config.retention != RetentionPolicy.LIMITS:
        logger.error("stream %s has the retention policy %s: it cannot be read again", name,
                     info.config.retention)  # fmt: skip
        return None
    facts = _facts(info, subject, retention)
    if facts.short:
        logger.warning(
            "stream %s keeps too little (max_age %s s, storage %s, max_bytes %s, max_msgs %s): after a crash "
            "what it no longer has is lost; it should keep %d s on file",
            name, info.config.max_age, info.config.storage, info.config.max_bytes, info.config.max_msgs,
            retention,
        )  # fmt: skip
    return facts


async def _make(js: JetStreamContext, subject: str, retention: int) -> StreamInfo | None:
    name = "CC_METRICS_" + re.sub(r"[^A-Za-z0-9_-]", "_", subject).upper()
    config = StreamConfig(
        name=name,
        subjects=[subject],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        compression=StoreCompression.S2,  # lines of one kind shrink to a quarter
        max_age=float(retention + _MARGIN_SECONDS),
        description="made by the ClusterCockpit metric store",
    )
    try:
        info = await js.add_stream(config)
    except nats.js.errors.APIError as error:
        logger.error("stream %s for subject %s cannot be made: %s", name, subject, error)
        return None
    logger.info(
        "stream %s made for subject %s: keeps %d s on file", name, subject, retention + _MARGIN_SECONDS
    )
    return info


def _facts(info: StreamInfo, subject: str, retention: int) -> StreamFacts:
    config = info.config
    age = config.max_age or 0
    short = (
        0 < age < retention
        or config.storage != StorageType.FILE
        or (config.max_bytes or -1) > 0
        or (config.max_msgs or -1) > 0
    )
    return StreamFacts(
        name=config.name or "",
        created=str(info.created),
        first=info.state.first_seq,
        last=info.state.last_seq,
        alone=config.subjects == [subject] or all(covers(subject, one) for one in config.subjects or []),
        short=short,
    )


def covers(pattern: str, subject: str) -> bool:
    """Whether every subject that the second matches, the first matches too (`*` and `>` as NATS has them)."""
    left, right = pattern.split("."), subject.split(".")
    for index, part in enumerate(left):
        if part == ">":
            return len(right) > index
        if index >= len(right) or right[index] == ">":
            return False
        if part not in ("*", right[index]):
            return False
    return len(left) == len(right)


def start_of(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, tz=UTC)
