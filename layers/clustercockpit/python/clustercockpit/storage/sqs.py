"""The queue of jobs to archive, in SQS.

A message's body is `{"id": <our job id>}`. Messages wait before they are seen, so that the job's last samples
are in the store by then (ruling 8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from clustercockpit.errors import ConfigurationError, InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_LONGEST_DELAY = 900  # seconds; what SQS allows


class SqsArchiveQueue:
    """ArchiveQueue. `delay_seconds` is what `enqueue` waits where nothing else is said."""

    def __init__(self, queue_url: str, client: SQSClient, *, delay_seconds: int) -> None:
        if not queue_url:
            raise ConfigurationError("no archive queue is named: set CC_ARCHIVE_QUEUE_URL")
        self._queue_url = queue_url
        self._client = client
        self._delay_seconds = delay_seconds

    def enqueue(self, id: int, *, delay_seconds: int | None = None) -> None:
        """Hand the job over. UnavailableError where the queue does not take it (the sweeper will)."""
        from botocore.exceptions import BotoCoreError, ClientError

        delay = self._delay_seconds if delay_seconds is None else delay_seconds
        try:
            self._client.send_message(
                QueueUrl=self._queue_url,
                MessageBody=orjson.dumps({"id": id}).decode(),
                DelaySeconds=max(0, min(delay, _LONGEST_DELAY)),
            )
        except (ClientError, BotoCoreError) as error:
            raise UnavailableError("the archive queue does not take messages now") from error


def job_id_in(body: str | bytes) -> int:
    """Our id of the job that a message is about. InvalidInputError if it is none of ours."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidInputError("archive queue: a message is not JSON") from None
    id = message.get("id") if isinstance(message, dict) else None
    if isinstance(id, bool) or not isinstance(id, int) or not 0 < id < 2**31:
        raise InvalidInputError("archive queue: a message has no job id")
    return id
