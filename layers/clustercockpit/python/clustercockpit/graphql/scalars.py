"""What values look like on the wire where the reference differs from a stock GraphQL server.

`spec/graphql-api.md` chapter 2, 1.6 and 1.7: 64-bit integers, numbers accepted where text is declared and
the reverse, ids that are numbers, samples as text made in one go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    IntValueNode,
    StringValueNode,
    ValueNode,
)

from clustercockpit.clusters.model import MetricScope
from clustercockpit.jobs.model import JobState

_INT_LIMIT: Final = 2**63
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise GraphQLError(f"Int cannot represent {value!r}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,19}", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int):
        raise GraphQLError(f"Int cannot represent non-integer value: {_shown(value)}")
    if not -_INT_LIMIT <= value < _INT_LIMIT:
        raise GraphQLError(f"Int cannot represent what does not fit into 64 bits: {_shown(value)}")
    return value


def _float(value: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GraphQLError(f"Float cannot represent non numeric value: {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise GraphQLError("Float cannot represent what is not finite")
    return number


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return orjson.dumps(value).decode()
    raise GraphQLError(f"String cannot represent a non string value: {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _literal(node: ValueNode, *kinds: type[ValueNode]) -> Any:
    """The Python value of a literal of one of the kinds."""
    if isinstance(node, kinds):
        if isinstance(node, IntValueNode):
            return int(node.value)
        if isinstance(node, FloatValueNode):
            return float(node.value)
        if isinstance(node, StringValueNode | EnumValueNode | BooleanValueNode):
            return node.value
    raise GraphQLError("this literal does not fit here")


def _written_float(value: Any) -> float | int | None:
    """Where the reference would fail on what JSON cannot say, there is null."""
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _scalar(
    name: str,
    written: Callable[[Any], Any],
    read: Callable[[Any], Any],
    *literals: type[ValueNode],
) -> GraphQLScalarType:
    scalar = GraphQLScalarType(
        f"Reference{name}",
        coerce_output_value=written,
        coerce_input_value=read,
        coerce_input_literal=lambda node: read(_literal(node, *literals)),
    )
    scalar.name = name  # a second `Int` cannot be made by that name
    return scalar


def encoded(samples: Any) -> orjson.Fragment:
    """A whole array as JSON text: its values never become Python objects. NaN and infinities become null."""
    return orjson.Fragment(orjson.dumps(samples, option=orjson.OPT_SERIALIZE_NUMPY))


# The schema's own scalars


def _time(value: Any) -> int:
    if not isinstance(value, str):
        raise GraphQLError("time should be RFC3339 formatted string")
    text = value.strip()
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", text, re.ASCII):
        raise GraphQLError(f"time should be RFC3339 formatted string, got {_shown(value)}")
    try:
        # Beyond microseconds Python is not interested, and neither are we
        moment = datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text.upper().replace(" ", "T")))
    except ValueError:
        raise GraphQLError(f"time should be RFC3339 formatted string, got {_shown(value)}") from None
    return math.floor(moment.timestamp())


def written_time(seconds: int) -> str:
    """RFC 3339 in the server's own offset."""
    try:
        text = datetime.fromtimestamp(seconds, UTC).astimezone().isoformat()
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        text = datetime.fromtimestamp(0, UTC).astimezone().isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _scope(value: Any) -> MetricScope:
    if not isinstance(value, str):
        raise GraphQLError("SCHEMA/METRICS > enums must be strings")
    try:
        return MetricScope(value)
    except ValueError:
        raise GraphQLError(f"SCHEMA/METRICS > {value[:60]} is not a valid MetricScope") from None


def _state(value: Any) -> JobState:
    if not isinstance(value, str):
        raise GraphQLError("SCHEMA/JOB > enums must be strings")
    try:
        return JobState(value)
    except ValueError:
        raise GraphQLError("SCHEMA/JOB > invalid job state") from None


def _anything(value: Any) -> Any:
    return value


# Job states, scopes: scalars, not enums, written as strings; names without quotes are taken all the same
_WORDS: Final = (StringValueNode, EnumValueNode)
SCALARS: Final = {
    scalar.name: scalar
    for scalar in (
        _scalar("Int", int, _integer, IntValueNode),
        _scalar("Float", _written_float, _float, IntValueNode, FloatValueNode),
        _scalar("String", str, _text, StringValueNode),
        _scalar("Time", written_time, _time, StringValueNode),
        _scalar("Any", _anything, _anything, *_WORDS, IntValueNode, FloatValueNode),
        _scalar("NullableFloat", _written_float, _float, IntValueNode, FloatValueNode),
        _scalar("MetricScope", str, _scope, *_WORDS),
        _scalar("JobState", str, _state, *_WORDS),
    )
}
NUMERIC_ID: Final = _scalar("ID", int, _integer, IntValueNode)
SAMPLES: Final = _scalar("NullableFloat", encoded, _anything)

NUMERIC_IDS: Final = ("Job", "Tag")
SAMPLE_FIELDS: Final = {"Series": ("data",), "StatsSeries": ("mean", "median", "min", "max")}
"""Fields declared `[NullableFloat!]!` that are completed as one value."""


def install(schema: GraphQLSchema) -> None:
    """Put these scalars in place of the schema's own."""
    for name, scalar in SCALARS.items():
        schema.type_map[name] = scalar
    for name, type in list(schema.type_map.items()):
        if name.startswith("__"):
            continue  # of the library: all schemas of a process share them
        if isinstance(type, GraphQLObjectType):
            for field in type.fields.values():
                field.type = _with_ours(field.type)
                for argument in field.args.values():
                    argument.type = _with_ours(argument.type)
        elif isinstance(type, GraphQLInputObjectType):
            for given in type.fields.values():
                given.type = _with_ours(given.type)
    for name in NUMERIC_IDS:
        _object(schema, name).fields["id"].type = GraphQLNonNull(NUMERIC_ID)
    for name, fields in SAMPLE_FIELDS.items():
        for field_name in fields:
            _object(schema, name).fields[field_name].type = GraphQLNonNull(SAMPLES)


def _object(schema: GraphQLSchema, name: str) -> GraphQLObjectType:
    found = schema.type_map[name]
    assert isinstance(found, GraphQLObjectType)
    return found


def _with_ours(type: Any) -> Any:
    if isinstance(type, GraphQLNonNull):
        return GraphQLNonNull(_with_ours(type.of_type))
    if isinstance(type, GraphQLList):
        return GraphQLList(_with_ours(type.of_type))
    return SCALARS.get(type.name, type) if isinstance(type, GraphQLScalarType) else type
