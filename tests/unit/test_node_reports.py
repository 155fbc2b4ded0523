from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest

from clustercockpit.clusters.catalog import DocumentCatalog
from clustercockpit.errors import UnavailableError
from clustercockpit.nodes.health import StoreNodeHealth
from clustercockpit.nodes.model import HealthState, NodeCounts, NodeHealth, NodeState, SchedulerState
from clustercockpit.nodes.service import NodeService


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["ALLOCATED", "RESERVED"], "allocated"),
        (["Reserved", "idle"], "reserved"),
        (["idle", "DOWN"], "down"),
        (["IDLE"], "idle"),
        (["down", "mixed"], "down"),
        (["mixed"], "mixed"),
        (["draining", "completing"], "unknown"),
        ([], "unknown"),
    ],
)
def test_one_state_of_many_words(states: list[str], expected: str) -> None:
    assert SchedulerState.of(states) == expected


def _cluster_file() -> bytes:
    metric = {"unit": {"base": ""}, "scope": "node", "timestep": 60, "aggregation": "avg"}
    return json.dumps(
        {
            "name": "c",
            "metricConfig": [
                {"name": "cpu_load", **metric},
                {"name": "gpu", "subClusters": [{"name": "cpu", "remove": True}], **metric},
            ],
            "subClusters": [{"name": "cpu", "nodes": "*"}, {"name": "gpu", "nodes": "g[1-4]"}],
        }
    ).encode()


class _Documents:
    def cluster_names(self) -> list[str]:
        return ["c"]

    def read_cluster_document(self, cluster: str) -> tuple[bytes, str]:
        return _cluster_file(), "1"


class _Nodes:
    def __init__(self) -> None:
        self.recorded: list[NodeState] = []

    def record(self, cluster: str, states: Sequence[NodeState], *, time: int) -> None:
        self.recorded = list(states)

    def nodes(self, cluster: str) -> Sequence[NodeState]:
        return self.recorded

    def counts(self, cluster: str, since: int, until: int | None = None) -> Sequence[NodeCounts]:
        return []


class _Health:
    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[str]]] = []
        self.silent = False

    def check(
        self, cluster: str, hostnames: Sequence[str], metrics: Sequence[str]
    ) -> Mapping[str, NodeHealth]:
        if self.silent:
            raise UnavailableError("asleep")
        self.asked.append((list(hostnames), list(metrics)))
        return {"g1": NodeHealth(HealthState.PARTIAL, missing=("gpu",))}


def _report(**states: list[str]) -> bytes:
    nodes = [{"hostname": host, "states": given} for host, given in states.items()]
    return json.dumps({"cluster": "c", "nodes": nodes}).encode()


def test_health_is_brought_up_to_date_without_a_report() -> None:
    store, health = _Nodes(), _Health()
    catalog = DocumentCatalog(_Documents())
    # Whoever takes in the reports cannot ask
    blind = NodeService(store, catalog, None, clock=lambda: 5.0)
    blind.report(_report(g1=["idle"], g2=["mixed"], g3=["down"]))
    assert {state.health.state.value for state in store.recorded if state.hostname != "g3"} == {"failed"}
    known = {state.hostname: state for state in store.recorded}
    service = NodeService(store, catalog, health, clock=lambda: 65.0)
    assert service.refresh_health("c") == 1
    assert health.asked == [(["g1", "g2"], ["cpu_load", "gpu"])]
    (changed,) = store.recorded
    assert (changed.hostname, changed.health) == ("g1", NodeHealth(HealthState.PARTIAL, missing=("gpu",)))
    # Of the time of the report, so that a newer one that came meanwhile holds
    assert (changed.time, changed.report) == (5, known["g1"].report)
    assert service.refresh_health("c") == 0
    health.silent = True
    with pytest.raises(UnavailableError):
        service.refresh_health("c")


def test_health_is_asked_per_subcluster_and_not_for_nodes_that_are_down() -> None:
    store, health = _Nodes(), _Health()
    service = NodeService(store, DocumentCatalog(_Documents()), health, clock=lambda: 5.0)
    assert service.report(_report(g1=["idle"], g2=["mixed"], g3=["down"], n1=["allocated"])) == 4
    assert health.asked == [(["g1", "g2"], ["cpu_load", "gpu"]), (["n1"], ["cpu_load"])]
    found = {state.hostname: (state.sub_cluster, state.health.state.value) for state in store.recorded}
    assert found == {
        "g1": ("gpu", "partial"),
        "g2": ("gpu", "failed"),
        "g3": ("gpu", "full"),
        "n1": ("cpu", "failed"),
    }
    assert {state.time for state in store.recorded} == {5}


def test_health_that_cannot_be_asked_stays_as_it_was() -> None:
    store, health = _Nodes(), _Health()
    service = NodeService(store, DocumentCatalog(_Documents()), health)
    service.report(_report(g1=["idle"]))
    health.silent = True
    service.report(_report(g1=["mixed"]), received=7.5)
    (state,) = store.recorded
    assert (state.report.state, state.health.state, state.time) == ("mixed", "partial", 7)


def test_of_doubles_in_a_report_the_last_counts() -> None:
    store = _Nodes()
    body = (
        b'{"cluster":"c","nodes":[{"hostname":"g1","states":["idle"]},{"hostname":"g1","states":["down"]}]}'
    )
    assert NodeService(store, DocumentCatalog(_Documents()), None).report(body) == 1
    assert store.recorded[0].report.state == "down"


def _source(answer: Any, calls: list[httpx.Request], now: list[float]) -> StoreNodeHealth:
    def respond(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer) if not isinstance(answer, int) else httpx.Response(answer)

    return StoreNodeHealth(
        "http://store", lambda: "token", transport=httpx.MockTransport(respond), clock=lambda: now[0]
    )


def test_the_store_is_asked_with_a_body_and_its_answer_read() -> None:
    calls: list[httpx.Request] = []
    answer = {
        "n1": {"State": "partial", "HealthMetrics": '{"degraded":["a"],"missing":["b"]}'},
        "n2": {"State": "full", "HealthMetrics": ""},
        "n3": {"State": "odd"},
    }
    found = _source(answer, calls, [0.0]).check("c", ["n1", "n2"], ["a", "b"])
    assert found == {
        "n1": NodeHealth(HealthState.PARTIAL, missing=("b",), degraded=("a",)),
        "n2": NodeHealth(HealthState.FULL),
    }
    (request,) = calls
    assert (request.method, request.url.path) == ("GET", "/api/healthcheck")
    assert request.headers["authorization"] == "Bearer token"
    assert json.loads(request.content) == {"cluster": "c", "nodes": ["n1", "n2"], "metric-names": ["a", "b"]}


def test_a_store_that_is_away_is_left_alone_for_a_minute() -> None:
    calls: list[httpx.Request] = []
    now = [0.0]
    source = _source(httpx.ConnectError("refused"), calls, now)
    for moment, attempts in ((0.0, 1), (30.0, 1), (61.0, 2)):
        now[0] = moment
        with pytest.raises(UnavailableError):
            source.check("c", ["n"], [])
        assert len(calls) == attempts


@pytest.mark.parametrize("answer", [500, {"n1": 3}, {"n1": {"State": "full", "HealthMetrics": "{"}}])
def test_an_answer_that_cannot_be_used_is_no_answer(answer: Any) -> None:
    with pytest.raises(UnavailableError):
        _source(answer, [], [0.0]).check("c", ["n"], [])
