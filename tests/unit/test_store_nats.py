"""Lines from NATS without their cluster, and which stream covers a subject."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cc_metric_store.configuration import Subscription
from cc_metric_store.nats_streams import covers
from cc_metric_store.subject_tags import Tagger, nobody_knows, per_subject


def test_a_subject_named_twice_is_read_once_with_both_tags() -> None:
    found = per_subject(
        [
            Subscription("hpc-nats", "fritz"),
            Subscription("hpc-nats", "alex"),
            Subscription("hpc-nats", "fritz"),
            Subscription("other"),
        ]
    )
    assert found == {"hpc-nats": ("fritz", "alex"), "other": ()}


def test_one_tag_is_the_default_of_the_whole_message() -> None:
    message = b"m,hostname=a value=1\nm,cluster=x,hostname=b value=2\n"
    assert Tagger(["fritz"], nobody_knows).split(message) == ([("fritz", message)], 0)
    assert Tagger([], nobody_knows).split(message) == ([("", message)], 0)


def test_several_tags_are_resolved_by_the_host_and_the_order_is_kept() -> None:
    asked: list[str] = []

    def locate(host: str, clusters: Sequence[str]) -> str:
        assert clusters == ("fritz", "alex")
        asked.append(host)
        return {"f0101": "fritz", "a0101": "alex"}.get(host, "")

    lines = [
        b"m,hostname=a0101 value=1 1", b"m,hostname=f0101 value=2 1",
        b"m,host=a0101,hostname=f0101 value=3 1",
        b"m,cluster=woody,hostname=w1 value=4 1", b"m,hostname=nobody value=5 1", b"# note", b"m value=6",
    ]  # fmt: skip
    runs, dropped = Tagger(["fritz", "alex"], locate).split(b"\n".join(lines))
    assert runs == [
        ("alex", lines[0]),
        ("fritz", lines[1] + b"\n" + lines[2]),
        ("", b"\n".join([lines[3], *lines[5:]])),
    ]
    assert dropped == 1
    assert asked == ["a0101", "f0101", "nobody"]


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a", "a", True), ("a", "b", False), ("a.b", "a", False), ("a", "a.b", False),
        ("a.*", "a.b", True), ("a.*", "a.b.c", False), ("a.>", "a.b.c", True), ("a.>", "a", False),
        (">", "a.b", True), ("a.b", "a.*", False), ("a.*", "a.>", False), ("a.>", "a.>", True),
        ("a.*", "a.*", True), ("*.b", "a.b", True), ("a.*.c", "a.b.d", False),
    ],
)  # fmt: skip
def test_a_stream_covers_a_subject_only_as_a_whole(pattern: str, subject: str, expected: bool) -> None:
    assert covers(pattern, subject) is expected
