from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.reference_json import (
    Anything,
    Boolean,
    DecodingError,
    Integer,
    ListOf,
    MapOf,
    Number,
    Record,
    Text,
    decode,
    encode,
    number,
)

NODE = Record({"hostname": Text(), "hwthreads": ListOf(Integer()), "ok": Boolean()})
SHAPE = Record(
    {
        "jobId": Integer(),
        "numNodes": Integer(32),
        "energy": Number(),
        "resources": ListOf(NODE),
        "metaData": MapOf(Text()),
        "any": Anything(),
    }
)


def test_names_match_ignoring_case_and_come_back_canonical() -> None:
    assert decode(b'{"JOBID": 1, "numnodes": 2}', SHAPE) == {"jobId": 1, "numNodes": 2}


def test_null_leaves_the_default() -> None:
    assert decode(b'{"jobId": null, "resources": null}', SHAPE) == {}
    assert decode(b'{"resources": [null], "metaData": {"a": null}}', SHAPE) == {
        "resources": [{}],
        "metaData": {"a": ""},
    }


def test_only_the_first_value_counts() -> None:
    assert decode(b' \n{"jobId": 1} {"jobId": 2} trash', SHAPE) == {"jobId": 1}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "EOF"),
        (b"  \n", "EOF"),
        (b'{"jobId": 1', "unexpected EOF"),
        (b"{]", "no valid JSON"),
        (b'{"job": 1}', "unknown field 'job'"),
        (b'{"resources": [{"hostname": "a", "host": 1}]}', r"resources\[0\]: unknown field 'host'"),
        (b'{"resources": [{"hwthreads": [1, "2"]}]}', r"resources\[0\].hwthreads\[1\]: expected a whole"),
        (b'{"jobId": 1.0}', "jobId: expected a whole number without fraction"),
        (b'{"jobId": 1e3}', "jobId: expected a whole number without fraction"),
        (b'{"jobId": "1"}', "jobId: expected a whole number, got a string"),
        (b'{"jobId": true}', "got a boolean"),
        (b'{"numNodes": 2147483648}', "does not fit into 32 bits"),
        (b'{"jobId": 9223372036854775808}', "does not fit into 64 bits"),
        (b'{"energy": 1e999}', "too large"),
        (b'{"energy": NaN}', "NaN"),
        (b'{"metaData": {"a": 1}}', "metaData.a: expected a string"),
        (b'{"metaData": []}', "metaData: expected an object, got an array"),
        (b"[]", "expected an object, got an array"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"jobId": ' + b"9" * 5000 + b"}", "no valid JSON"),
    ],
)
def test_what_cannot_be_read_says_where(document: bytes, message: str) -> None:
    with pytest.raises(DecodingError, match=message):
        decode(document, SHAPE)


def test_lenient_reading_ignores_the_unknown_at_every_level() -> None:
    document = b'{"jobId": 1, "new": {}, "resources": [{"hostname": "a", "rack": 2}]}'
    assert decode(document, SHAPE, strict=False) == {"jobId": 1, "resources": [{"hostname": "a"}]}


def test_the_width_bounds_are_inclusive() -> None:
    assert decode(b'{"numNodes": -2147483648}', SHAPE) == {"numNodes": -(2**31)}
    assert decode(b'{"jobId": 9223372036854775807}', SHAPE) == {"jobId": 2**63 - 1}


def test_lone_surrogates_and_broken_utf8_become_replacement_characters() -> None:
    read = decode(b'{"metaData": {"\\ud800": "\\udfff", "b": "\xff"}}', SHAPE)
    assert read == {"metaData": {"�": "�", "b": "�"}}
    encode(read)


def test_writing_escapes_what_html_could_take_for_markup() -> None:
    assert encode({"a": "<b>&\u2028\u2029é"}) == '{"a":"\\u003cb\\u003e\\u0026\\u2028\\u2029é"}\n'.encode()


def test_figures_without_fraction_are_written_without() -> None:
    assert encode([number(31.0), number(0.25), number(-0.0)]) == b"[31,0.25,0]\n"


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_values.filter(lambda value: value is not None))
@settings(max_examples=150, deadline=None)
def test_what_is_written_reads_back(value: object) -> None:
    text = encode(value)
    assert decode(text, Anything()) == json.loads(text)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_decode_or_fail_cleanly(document: bytes) -> None:
    try:
        decode(document, SHAPE)
    except DecodingError:
        return
