from __future__ import annotations

import pytest
from moto import mock_aws

from clustercockpit.errors import ConfigurationError, InvalidInputError, UnavailableError
from clustercockpit.settings import Settings
from clustercockpit.storage import aws
from clustercockpit.storage.sqs import SqsArchiveQueue, job_id_in


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def test_a_job_comes_out_as_it_went_in() -> None:
    with mock_aws():
        client = aws.client(Settings(), "sqs")
        url = client.create_queue(QueueName="archive")["QueueUrl"]
        queue = SqsArchiveQueue(url, client, delay_seconds=0)
        queue.enqueue(7)
        queue.enqueue(8, delay_seconds=0)
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        assert sorted(job_id_in(message["Body"]) for message in messages) == [7, 8]


def test_a_message_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws():
        client = aws.client(Settings(), "sqs")
        url = client.create_queue(QueueName="archive")["QueueUrl"]
        sent: list[int] = []
        send = client.send_message
        monkeypatch.setattr(
            client, "send_message", lambda **call: (sent.append(call["DelaySeconds"]), send(**call))
        )
        queue = SqsArchiveQueue(url, client, delay_seconds=90)
        queue.enqueue(7)
        queue.enqueue(7, delay_seconds=100_000)
        assert sent == [90, 900]
        assert client.receive_message(QueueUrl=url).get("Messages", []) == []


def test_a_queue_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="CC_ARCHIVE_QUEUE_URL"):
        SqsArchiveQueue("", None, delay_seconds=0)  # type: ignore[arg-type]
    with mock_aws():
        client = aws.client(Settings(), "sqs")
        queue = SqsArchiveQueue("https://sqs.eu-central-1.amazonaws.com/1/no", client, delay_seconds=0)
        with pytest.raises(UnavailableError):
            queue.enqueue(7)


@pytest.mark.parametrize(
    "body", ["", "7", "[]", "{}", '{"id": "7"}', '{"id": true}', '{"id": 0}', '{"id": 2147483648}']
)
def test_foreign_messages_are_refused(body: str) -> None:
    with pytest.raises(InvalidInputError):
        job_id_in(body)
