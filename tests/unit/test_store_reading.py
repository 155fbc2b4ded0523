"""Reading: aggregation, gaps, the query API's JSON, resampling, frames, health."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from cc_metric_store import health
from cc_metric_store import query as query_module
from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.engine import Engine
from cc_metric_store.frames import FrameRequest, FrameService
from cc_metric_store.query import QueryRequest, QueryService
from cc_metric_store.reading import Reader
from cc_metric_store.resampling import lttb_indices, resample
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import InvalidInputError, TooLargeError
from clustercockpit.metrics import frame

DEFINITIONS = {
    "m_none": MetricDefinition("m_none", 60),
    "m_sum": MetricDefinition("m_sum", 10, "sum", MetricScope.HWTHREAD),
    "m_avg": MetricDefinition("m_avg", 10, "avg", MetricScope.HWTHREAD),
}


def engine(now: int = 100_000) -> Engine:
    return Engine(StaticCatalog({"*": DEFINITIONS}), lambda: now)


def fill(store: Engine, metric: str, tags: str, start: int, count: int, value: float, step: int = 10) -> None:
    batch = "\n".join(
        f"{metric},cluster=c,hostname=h{tags} value={value} {start + step * i}" for i in range(count)
    )
    assert store.write(batch.encode()).accepted == count


def ask(store: Engine, **request: Any) -> Any:
    body = json.dumps({"cluster": "c", **request}).encode()
    return json.loads(QueryService(Reader(store)).answer(QueryRequest.parse(body, 1000)))


THREADS = {"metric": "m_sum", "host": "h", "type": "hwthread", "type-ids": ["0", "1"], "aggreg": True}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1000, 6, 1), (1000, 6, 3), [4] * 6),
        ((1000, 5, 2), (1000, 6, 1), [3] * 5 + [1]),
        ((1000, 6, 1), (1000, 5, 2), [3] * 5 + [1]),
        ((1020, 4, 2), (1000, 6, 1), [1, 1, 3, 3, 3, 3]),
        ((1000, 6, 1), (1020, 4, 2), [1, 1, 3, 3, 3, 3]),
        ((1000, 6, 1), (1004, 6, 2), [3] * 6),
    ],
)
def test_components_of_any_length_are_summed(first: Any, second: Any, expected: list[float]) -> None:
    store = engine()
    fill(store, "m_sum", ",type=hwthread,type-id=0", *first)
    fill(store, "m_sum", ",type=hwthread,type-id=1", *second)
    (result,) = ask(store, queries=[THREADS], **{"from": 990, "to": 1070, "with-padding": False})["results"][
        0:1
    ]
    assert result[0]["data"] == expected


def test_the_mean_leaves_gaps_out_and_a_gap_stays_a_gap() -> None:
    store = engine()
    for thread, times in (("0", (1000, 1010, 1030)), ("1", (1000, 1030))):
        for time in times:
            fill(store, "m_avg", f",type=hwthread,type-id={thread}", time, 1, 2.0 if thread == "0" else 4.0)
    result = ask(store, queries=[{**THREADS, "metric": "m_avg"}], **{"from": 1000, "to": 1100})["results"][0][
        0
    ]
    assert result["data"] == [3.0, 2.0, None, 3.0]


def test_an_absent_component_is_reported() -> None:
    store = engine()
    fill(store, "m_sum", ",type=hwthread,type-id=0", 1000, 3, 1)
    result = ask(store, queries=[THREADS], **{"from": 1000, "to": 1100})["results"][0][0]
    assert result["components"] == {"expected": 2, "present": 1}


def test_at_the_live_edge_an_incomplete_sum_waits() -> None:
    store = engine(1045)
    fill(store, "m_sum", ",type=hwthread,type-id=0", 1000, 5, 1)
    fill(store, "m_sum", ",type=hwthread,type-id=1", 1000, 4, 1)
    assert ask(store, queries=[THREADS], **{"from": 1000, "to": 1100})["results"][0][0]["data"] == [
        2,
        2,
        2,
        2,
    ]


def test_a_host_question_goes_to_one_level_only() -> None:
    store = engine()
    fill(store, "m_sum", ",type=hwthread,type-id=0", 1000, 2, 1)
    fill(store, "m_sum", ",type=hwthread,type-id=1", 1000, 2, 1)
    fill(store, "m_sum", ",type=socket,type-id=0", 1000, 2, 50)
    query = {"metric": "m_sum", "host": "h"}
    assert ask(store, queries=[query], **{"from": 1000, "to": 1020})["results"][0][0]["data"] == [2, 2]
    fill(store, "m_sum", "", 1000, 2, 7)
    assert ask(store, queries=[query], **{"from": 1000, "to": 1020})["results"][0][0]["data"] == [7, 7]


def test_the_query_vector_of_the_reference() -> None:
    store = engine()
    for time, value in ((1000, 1), (1060, 2), (1120, 3)):
        fill(store, "m_none", "", time, 1, value)
    query = {"metric": "m_none", "host": "h"}
    window = {"from": 940, "to": 1180}
    bare = ask(store, queries=[query], **window, **{"with-padding": False})["results"]
    assert bare == [
        [{"data": [1, 2, 3], "from": 1000, "to": 1180, "resolution": 60, "avg": 2, "min": 1, "max": 3}]
    ]
    padded = ask(store, queries=[query], **window)["results"][0][0]
    assert (padded["data"], padded["from"]) == ([None, 1, 2, 3], 940)
    scaled = ask(store, queries=[{**query, "scale-by": -0.5}], **window)["results"][0][0]
    assert (scaled["avg"], scaled["min"], scaled["max"]) == (-1.0, -1.5, -0.5)
    assert "data" not in ask(store, queries=[query], **window, **{"with-data": False})["results"][0][0]
    assert ask(store, queries=[{**query, "host": "x"}], **window)["results"] == [[]]
    unknown = ask(store, queries=[{**query, "metric": "x"}], **window)["results"][0][0]
    assert "error" in unknown
    assert unknown["from"] == 0
    assert "error" in ask(store, queries=[query], **{"from": 5, "to": 4})["results"][0][0]


def test_one_entry_per_requested_id_in_the_requested_order() -> None:
    store = engine()
    for thread in ("0", "2"):
        fill(store, "m_sum", f",type=hwthread,type-id={thread}", 1000, 2, float(thread))
    query = {"metric": "m_sum", "host": "h", "type": "hwthread", "type-ids": ["2", "1", "0"]}
    entries = ask(store, queries=[query], **{"from": 1000, "to": 1020})["results"][0]
    assert [e.get("data") for e in entries] == [[2, 2], None, [0, 0]]


def test_for_all_nodes_lists_what_it_asked() -> None:
    store = engine()
    fill(store, "m_none", "", 1000, 1, 1, 60)
    answer = ask(store, **{"for-all-nodes": ["m_none"], "from": 900, "to": 1100})
    assert answer["queries"] == [{"metric": "m_none", "host": "h", "resolution": 0, "aggreg": False}]
    assert len(answer["results"]) == 1


def test_several_components_without_aggregation_are_an_error_of_that_entry() -> None:
    store = engine()
    for thread in (0, 1):
        fill(store, "m_none", f",type=hwthread,type-id={thread}", 1000, 1, 1)
    query = {**THREADS, "metric": "m_none"}
    assert "aggregation" in ask(store, queries=[query], **{"from": 900, "to": 1100})["results"][0][0]["error"]


def test_a_question_about_all_time_costs_only_what_is_there() -> None:
    store = engine()
    fill(store, "m_sum", "", 1000, 3, 1)
    query = {"metric": "m_sum", "host": "h"}
    answer = ask(store, queries=[query], **{"from": 0, "to": 1 << 39, "with-padding": False})
    assert answer["results"][0][0]["data"] == [1, 1, 1]


def test_padding_is_bounded_and_counts() -> None:
    store = engine()
    fill(store, "m_sum", "", 1000, 3, 1)
    query = {"metric": "m_sum", "host": "h"}
    long_ago = 1000 - query_module.LONGEST_PADDING - 10
    (entry,) = ask(store, queries=[query], **{"from": long_ago, "to": 1100})["results"][0]
    assert (entry["from"], entry["data"]) == (1000, [1, 1, 1])
    (entry,) = ask(store, queries=[query], **{"from": 900, "to": 1100})["results"][0]
    assert (entry["from"], entry["data"]) == (900, [None] * 10 + [1, 1, 1])
    body = json.dumps({"cluster": "c", "from": 900, "to": 1100, "queries": [query]}).encode()
    with pytest.raises(TooLargeError):
        QueryService(Reader(store, max_values=12)).answer(QueryRequest.parse(body, 9))


def test_an_answer_has_a_limit() -> None:
    store = engine()
    fill(store, "m_sum", "", 1000, 300, 1)
    request = QueryRequest.parse(
        json.dumps(
            {"cluster": "c", "from": 0, "to": 9000, "queries": [{"metric": "m_sum", "host": "h"}]}
        ).encode(),
        9,
    )
    with pytest.raises(TooLargeError):
        QueryService(Reader(store, max_values=100)).answer(request)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"from": 1.5}', b'{"queries": 1}', b'{"queries": [1]}', b'{"queries": [{"metric": 1}]}',
     b'{"queries": [{"metric": "m", "host": "h", "type-ids": [1]}]}', b'{"from": true}', b'{"from": 1e300}'],
)  # fmt: skip
def test_malformed_requests_are_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(InvalidInputError):
        QueryRequest.parse(body, 1000)


@pytest.mark.parametrize(
    ("values", "step", "indices"),
    [
        ([1, 5, 2, 8, 3, 9, 4, 7, 6, 2, 1, 3], 3, [0, 5, 6, 11]),
        (list(range(12)), 3, [0, 1, 6, 11]),
        ([1, 5, 2, math.nan, 3, 9, 4, 7, 6, 2, 1, 3], 3, [0, 3, 9, 11]),
        ([0, 0, 0, 10, 0, 0, 0, 0, -7, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0], 4, [0, 3, 8, 15, 19]),
    ],
)
def test_lttb_picks_the_indices_of_the_reference(values: list[float], step: int, indices: list[int]) -> None:
    assert lttb_indices(np.array(values, float), len(values) // step) == indices


def test_lttb_on_long_series() -> None:
    picked = lttb_indices(np.arange(1007.0), 201)
    assert len(picked) == 201
    assert picked[:6] == [0, 1, 6, 11, 16, 21]
    assert picked[-4:] == [990, 995, 1000, 1006]
    picked = lttb_indices(np.sin(0.1 * np.arange(1000)), 100)
    assert picked[:12] == [0, 9, 17, 24, 39, 48, 55, 70, 79, 86, 101, 110]
    assert picked[-6:] == [956, 964, 977, 986, 992, 999]


@pytest.mark.parametrize(
    ("length", "old", "new", "points", "label"),
    [(200, 1, 2, 100, 2), (500, 1, 5, 100, 5), (1000, 1, 10, 100, 10), (200, 2, 1, 200, 2), (50, 1, 2, 50, 1),
     (200, 3, 7, 66, 9)],
)  # fmt: skip
def test_when_and_how_far_series_are_thinned(
    length: int, old: int, new: int, points: int, label: int
) -> None:
    values, step = resample(np.arange(float(length)), old, new, 100)
    assert (len(values), step) == (points, label)


def frame_of(store: Engine, **request: Any) -> frame.Frame:
    body = json.dumps({"cluster": "c", **request}).encode()
    return frame.decode(FrameService(Reader(store)).answer(FrameRequest.parse(body)))


def test_a_frame_carries_groups_with_true_times() -> None:
    store = engine()
    for thread in range(4):
        fill(store, "m_sum", f",type=hwthread,type-id={thread}", 1003, 4, 1 + thread)
    groups = [{"id": "0", "ids": ["0", "1"]}, {"id": "1", "ids": ["2", "9"]}]
    query = {"metric": "m_sum", "scope": "core", "hosts": ["h", "gone"], "type": "hwthread", "groups": groups,
             "aggregation": "sum"}  # fmt: skip
    answer = frame_of(store, queries=[query], **{"from": 1000, "to": 1100})
    (metric,) = answer.metrics
    first, second = metric.series
    assert (first.hostname, first.id, first.grid.start, first.grid.step) == ("h", "0", 1003, 10)
    assert first.mean.tolist() == [3, 3, 3, 3]
    assert (first.expected, first.present) == (2, 2)
    assert second.mean.tolist() == [3, 3, 3, 3]
    assert (second.expected, second.present) == (2, 1)
    assert any("gone" in line for line in answer.errors)


def test_frame_buckets_keep_extremes_and_continue_the_same_grid() -> None:
    store = engine()
    for index in range(12):
        fill(store, "m_sum", "", 1000 + 10 * index, 1, index)
    query = {"metric": "m_sum", "scope": "node", "hosts": ["h"]}
    whole = frame_of(store, queries=[query], resolution=30, **{"from": 1000, "to": 1120}).metrics[0].series[0]
    later = frame_of(store, queries=[query], resolution=30, **{"from": 1050, "to": 1120}).metrics[0].series[0]
    assert (whole.grid.start - later.grid.start) % 30 == 0
    assert whole.min is not None
    assert whole.max is not None
    assert np.nanmax(whole.max) == 11
    assert np.nanmin(whole.min) == 0
    assert whole.mean.tolist()[-2:] == later.mean.tolist()[-2:]
    assert (whole.statistics.avg, whole.statistics.max) == (5.5, 11)


def test_health_as_the_reference_judges_it() -> None:
    now = 100_000
    catalog = StaticCatalog({"*": {n: MetricDefinition(n, 10) for n in ("load", "mem", "cpu", "net")}})
    store = Engine(catalog, lambda: now)
    last = {
        "node001": dict.fromkeys(("load", "mem", "cpu", "net"), now),
        "node002": {"load": now, "mem": now, "cpu": now - 100, "net": now - 100},
        "node003": {"load": now, "mem": now},
        "node005": dict.fromkeys(("load", "mem", "cpu", "net"), now - 100),
    }
    for host, metrics in last.items():
        for metric, time in metrics.items():
            store.write(f"{metric},cluster=c,hostname={host} value=1 {time}".encode())
    hosts = ["node001", "node002", "node003", "node004", "node005"]
    found = health.check(store, "c", hosts, ["load", "mem", "cpu", "net"])
    assert [found[h].state for h in hosts] == ["full", "partial", "partial", "failed", "failed"]
    assert found["node002"].degraded == ["cpu", "net"]
    assert found["node003"].missing == ["cpu", "net"]
    assert found["node004"].document() == {"State": "failed", "HealthMetrics": ""}
    two = health.check(store, "c", hosts, ["load", "mem"])
    assert [two[h].state for h in hosts] == ["full", "full", "full", "failed", "failed"]
    assert health.check(store, "c", ["node001"], [])["node001"].state == "full"
