from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_job_events.events import BadLine, Event, read_events
from cc_job_events.handling import lane_of

STOP = (
    rb'job,function=stop_job,hostname=ctl,type=node,type-id=0 event="{\"jobId\":7001,\"cluster\":\"c1\",'
    rb'\"jobState\":\"timeout\",\"stopTime\":1750003600}" 1750003600000000000'
)


def test_the_worked_example_reads() -> None:
    (event,) = read_events(STOP)
    assert event == Event(
        "job",
        {"function": "stop_job", "hostname": "ctl", "type": "node", "type-id": "0"},
        '{"jobId":7001,"cluster":"c1","jobState":"timeout","stopTime":1750003600}',
    )


def test_escapes_of_a_string_field() -> None:
    (event,) = read_events(rb'job,function=x event="a\\nb\n\"\t\r\x\\\\" 1')
    assert isinstance(event, Event)
    assert event.text == 'a\\nb\n"\t\r\\x\\\\'


def test_a_string_field_may_hold_line_breaks_commas_and_spaces() -> None:
    events = read_events(b'job,function=x event="a, b=c\nd" 1\njob,function=y event="e" 2\n')
    assert [event.text for event in events if isinstance(event, Event)] == ["a, b=c\nd", "e"]


def test_names_and_tags_are_unescaped() -> None:
    (event,) = read_events(rb'my\ job,a\,b=c\ d,e\=f=g v=1i,event="x",w="y" -5')
    assert event == Event("my job", {"a,b": "c d", "e=f": "g"}, "x")


def test_lines_without_an_event_are_read_all_the_same() -> None:
    events = read_events(b"cpu_load,hostname=n1 value=1.5 5\n\n# a remark\n  \njob event=3 5\r\n")
    assert [event.text for event in events if isinstance(event, Event)] == [None, None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'job,function=x event="a"', "no timestamp"),
        (b'job,function=x event="a" 1.5', "no timestamp"),
        (b'job,function=x event="a" x', "no timestamp"),
        (b'job,function=x event="a', "no "),
        (b"job,function=x", "no measurement"),
        (b"job,function x=1 5", "no measurement"),
        (b" =1 5", "no measurement"),
        (b"job,function=x  5", "no field"),
        (b'job,function=x event={"jobId":1} 5', "no "),
    ],
)
def test_a_bad_line_is_told_and_spoils_no_other(line: bytes, reason: str) -> None:
    first, bad, last = read_events(STOP + b"\n" + line + b"\n" + STOP)
    assert isinstance(bad, BadLine)
    assert reason in bad.reason
    assert first == last


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_text_that_is_escaped_comes_through(texts: list[str]) -> None:
    message = "".join(f'job,function=f event="{_escape(text)}" 1\n' for text in texts).encode()
    assert [event.text for event in read_events(message) if isinstance(event, Event)] == texts


@given(st.binary(max_size=80) | st.text(alphabet='job,=" \\\n1e', max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_to_their_end(message: bytes) -> None:
    assert isinstance(read_events(message), list)


def test_events_of_a_job_share_a_lane_even_without_cluster() -> None:
    def event(text: str) -> Event:
        return Event("job", {}, text)

    start = lane_of(event('{"jobId":7001,"cluster":"c1","user":"a"}'), 8)
    assert start == lane_of(event('{"JobID":7001}'), 8) == 7001 % 8
    assert lane_of(event("{"), 8) == lane_of(event("{}"), 8) == lane_of(BadLine("", ""), 8) == 0
