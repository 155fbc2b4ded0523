"""Filters, orders, scalars and limits of the GraphQL door. Vectors: `spec/graphql-api.md` chapter 16."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from graphql import GraphQLError, GraphQLInt, OperationDefinitionNode, build_schema, parse
from hypothesis import given
from hypothesis import strategies as st

from clustercockpit.errors import InvalidInputError
from clustercockpit.graphql import limits
from clustercockpit.graphql.execution import schema
from clustercockpit.graphql.http import GRAPHQL, JSON, operation_of, response_type
from clustercockpit.graphql.jobs import hardware_of
from clustercockpit.graphql.questions import NOTHING, job_filters, job_order, job_page, snake
from clustercockpit.graphql.scalars import SCALARS, encoded, written_time
from clustercockpit.index.model import Direction, JobFilter, JobOrder, Page, Range, TextMatch

NOW = 1_750_000_000


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("startTime", "start_time"),
        ("numHwthreads", "num_hwthreads"),
        ("numHWThreads", "num_hw_threads"),
        ("flops_any_avg", "flops_any_avg"),
        ("cpuLoad_avg", "cpu_load_avg"),
        ("arrayJobId", "array_job_id"),
    ],
)
def test_snake_case_is_the_references(field: str, column: str) -> None:
    assert snake(field) == column


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [
        (0, 0, None),
        (5, 0, Range(5, None)),
        (0, 5, Range(None, 5)),
        (5, 9, Range(5, 9)),
        (-1, 5, None),
        (5, -1, None),
    ],
)
def test_a_bound_of_zero_is_open(low: int, high: int, bounds: Range | None) -> None:
    given = {"from": low, "to": high}
    assert job_filters([{"numNodes": given, "energy": given}], NOW) == [
        JobFilter(num_nodes=bounds, energy=bounds)
    ]


@pytest.mark.parametrize(
    ("given", "window"),
    [
        ({"from": 5, "to": 9}, Range(5, 9)),
        ({"from": 5, "to": None}, Range(5, None)),
        ({"to": 9, "range": "last6h"}, Range(None, 9)),
        ({"range": "last24h"}, Range(NOW - 86_400, None)),
        ({"range": "lastyear"}, None),
        ({}, None),
    ],
)
def test_windows_of_start_times(given: dict[str, Any], window: Range | None) -> None:
    assert job_filters([{"startTime": given}], NOW) == [JobFilter(start_time=window)]


def test_every_condition_arrives() -> None:
    text = {"eq": "a", "in": ["b"]}
    match = TextMatch(eq="a", one_of=("b",))
    (found,) = job_filters(
        [
            {
                "dbId": ["7", "x"],
                "tags": ["3"],
                "arrayJobId": 0,
                "state": [],
                "shared": "none",
                "schedule": "batch",
                "metricStats": [{"metricName": "cpu_load_avg", "range": {"from": 0.5, "to": 0}}],
                **dict.fromkeys(
                    ("jobId", "user", "project", "jobName", "cluster", "subCluster", "partition", "node"),
                    text,
                ),
            }
        ],
        NOW,
    )
    assert (found.ids, found.tags, found.array_job_id, found.states) == ((7,), (3,), 0, ())
    assert (found.shared, found.schedule) == ("none", "batch")
    assert found.footprints == (("cpu_load_avg", Range(0.5, None)),)
    for name in ("job_id", "user", "project", "job_name", "cluster", "sub_cluster", "partition", "node"):
        assert getattr(found, name) == match


@pytest.mark.parametrize(
    "given",
    [
        {"shared": "' OR '1'='1"},
        {"metricStats": [{"metricName": "x; DROP", "range": {"from": 1, "to": 2}}]},
        {"metricStats": [{"metricName": "é", "range": {"from": 1, "to": 2}}]},
    ],
)
def test_what_no_job_can_have_matches_nothing(given: dict[str, Any]) -> None:
    assert NOTHING in job_filters([given], NOW)


def test_orders() -> None:
    assert job_order(None) is None
    assert job_order({"field": "startTime", "type": "col", "order": "DESC"}) == JobOrder("start_time")
    assert job_order({"field": "mem_used_max", "type": "foot", "order": "ASC"}) == JobOrder(
        "mem_used_max", Direction.ASCENDING, footprint=True
    )


@pytest.mark.parametrize("field", ["foo", "metaData", "id)--", "", "job_name"])
def test_columns_to_order_by_are_known_ones(field: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be ordered"):
        job_order({"field": field, "type": "col", "order": "ASC"})


def test_pages() -> None:
    assert job_page(None) == Page(1, 50)
    assert job_page({"itemsPerPage": 10, "page": 0}) == Page(1, 10)


@pytest.mark.parametrize(
    ("metric", "hardware"),
    [
        ("cpu_power", "CPU"),
        ("acc_power", "Accelerator"),
        ("mem_power", "Memory"),
        ("core_power", "Core"),
        ("node_power", "Other"),
    ],
)
def test_hardware_of_energy(metric: str, hardware: str) -> None:
    assert hardware_of(metric) == hardware


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("Int", 2**62, 2**62),
        ("Int", "12", 12),
        ("Float", "1.5", 1.5),
        ("String", 17, "17"),
        ("Time", "2024-05-01T12:00:00.999Z", 1_714_564_800),
        ("Time", "2024-05-01T12:00:00+02:00", 1_714_557_600),
        ("JobState", "running", "running"),
    ],
)
def test_values_are_read_leniently(name: str, value: object, read: object) -> None:
    assert SCALARS[name].coerce_input_value(value) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Int", 2**63),
        ("Int", True),
        ("Int", 1.5),
        ("Float", math.inf),
        ("Float", "x"),
        ("String", ["x"]),
        ("Time", "yesterday"),
        ("Time", "2024-13-01T00:00:00Z"),
        ("Time", 17),
        ("JobState", "stopped"),
        ("MetricScope", "planet"),
        ("MetricScope", 1),
    ],
)
def test_other_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(GraphQLError):
        SCALARS[name].coerce_input_value(value)


@given(st.integers(0, 4_000_000_000))
def test_times_come_back(seconds: int) -> None:
    text = written_time(seconds)
    assert SCALARS["Time"].coerce_input_value(text) == seconds
    assert datetime.fromisoformat(text).astimezone(UTC).timestamp() == seconds


def test_samples_become_text_in_one_go() -> None:
    samples = np.array([1.0, 12.345678, math.nan, math.inf, -0.5])
    assert orjson.loads(orjson.dumps({"data": encoded(samples)})) == {
        "data": [1, 12.345678, None, None, -0.5]
    }
    assert orjson.dumps(encoded(np.array([]))) == b"[]"


def operation(source: str) -> None:
    document = parse(source)
    first = document.definitions[0]
    assert isinstance(first, OperationDefinitionNode)
    limits.check(first, document)


def test_the_limit_is_5000_fields_with_fragments_written_out() -> None:
    fields = " ".join(f"a{n}: id" for n in range(99))
    fragment = f"fragment F on Job {{ {fields} }}"
    fifty = " ".join(f'j{n}: job(id: "1") {{ ...F }}' for n in range(50))
    operation(f"{{ {fifty} }} {fragment}")
    with pytest.raises(GraphQLError, match="operation has complexity 5001, which exceeds the limit of 5000"):
        operation(f"{{ {fifty} __typename }} {fragment}")


def test_fragments_within_fragments_cannot_blow_up() -> None:
    levels = [f"fragment F{n} on Job {{ ...F{n + 1} ...F{n + 1} }}" for n in range(60)]
    with pytest.raises(GraphQLError, match="complexity"):
        operation('{ job(id: "1") { ...F0 } } ' + " ".join(levels) + " fragment F60 on Job { id }")
    operation('{ job(id: "1") { ...A } } fragment A on Job { ...B } fragment B on Job { ...A }')


def test_depth_is_limited() -> None:
    with pytest.raises(GraphQLError, match="levels deep"):
        operation("{ a " * 25 + "}" * 25)


@pytest.mark.parametrize(
    ("accept", "type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/graphql-response+json, application/graphql+json, application/json", GRAPHQL),
        ("application/json, application/graphql-response+json", JSON),
        ("text/html", GRAPHQL),
    ],
)
def test_the_answer_is_called_what_the_caller_lists_first(accept: str, type: str) -> None:
    assert response_type(accept) == type


@pytest.mark.parametrize("body", [[], None, {}, {"query": 1}, {"query": "{a}", "variables": []}])
def test_a_body_is_an_object_with_a_query(body: object) -> None:
    assert operation_of(body) == (None, {}, None)


def test_numbers_and_samples_keep_their_declared_types_in_the_contract() -> None:
    assert str(schema().query_type.fields["job"].args["id"].type) == "ID!"  # type: ignore[union-attr]
    assert str(schema().type_map["Job"].fields["id"].type) == "ID!"  # type: ignore[attr-defined]


def test_other_schemas_of_the_process_stay_as_they_are() -> None:
    schema()
    assert build_schema("type Query { name: String, size: Int }").type_map["Int"] is GraphQLInt
