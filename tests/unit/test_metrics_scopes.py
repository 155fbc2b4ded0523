"""The table of `spec/metric-store.md` 12.3 and its mended rows."""

from __future__ import annotations

import pytest

from clustercockpit.clusters.model import (
    Accelerator,
    MetricConfig,
    MetricScope,
    SubCluster,
    Topology,
    Unit,
)
from clustercockpit.jobs.model import Job, Resource
from clustercockpit.metrics.scopes import QueryPlan, plan, target_scope

# Eight threads with SMT: the threads of a core are t and t + 4, as collectors number them
TOPOLOGY = Topology(
    node=tuple(range(8)),
    socket=((0, 1, 4, 5), (2, 3, 6, 7)),
    memory_domain=((0, 4), (1, 5), (2, 6), (3, 7)),
    core=((0, 4), (1, 5), (2, 6), (3, 7)),
    accelerators=(Accelerator("gpu0"), Accelerator("gpu1")),
)
MAIN = SubCluster("main", "*", topology=TOPOLOGY)
NODE, SOCKET, DOMAIN = MetricScope.NODE, MetricScope.SOCKET, MetricScope.MEMORY_DOMAIN
CORE, THREAD, GPU = MetricScope.CORE, MetricScope.HWTHREAD, MetricScope.ACCELERATOR


def metric(scope: MetricScope, aggregation: str = "sum", name: str = "m") -> MetricConfig:
    return MetricConfig(name, Unit(), scope, aggregation, 60)


def job(*resources: Resource) -> Job:
    return Job(1, "c", "u", 1, resources=resources or (Resource("h1", accelerators=("gpu0", "gpu1")),))


def groups(plan: QueryPlan) -> list[tuple[str | None, list[str]]]:
    assert len(plan.queries) == 1
    return [(group.id, list(group.ids)) for group in plan.queries[0].groups]


def ask(native: MetricScope, requested: MetricScope, *resources: Resource) -> QueryPlan:
    return plan(job(*resources), MAIN, [(metric(native), [requested])])


CORES = [("0", ["0", "4"]), ("1", ["1", "5"]), ("2", ["2", "6"]), ("3", ["3", "7"])]


@pytest.mark.parametrize(
    ("native", "requested", "expected"),
    [
        (GPU, GPU, [("gpu0", ["gpu0"]), ("gpu1", ["gpu1"])]),
        (GPU, NODE, [(None, ["gpu0", "gpu1"])]),
        (THREAD, THREAD, [(str(i), [str(i)]) for i in range(8)]),
        (THREAD, GPU, [(str(i), [str(i)]) for i in range(8)]),
        (THREAD, CORE, CORES),
        (THREAD, DOMAIN, CORES),
        (THREAD, SOCKET, [("0", ["0", "1", "4", "5"]), ("1", ["2", "3", "6", "7"])]),
        (THREAD, NODE, [(None, [str(i) for i in range(8)])]),
        (CORE, THREAD, [(str(i), [str(i)]) for i in range(4)]),
        (CORE, DOMAIN, [(str(i), [str(i)]) for i in range(4)]),
        (CORE, SOCKET, [("0", ["0", "1"]), ("1", ["2", "3"])]),
        (CORE, NODE, [(None, ["0", "1", "2", "3"])]),
        (DOMAIN, CORE, [(str(i), [str(i)]) for i in range(4)]),
        (DOMAIN, SOCKET, [("0", ["0", "1"]), ("1", ["2", "3"])]),
        (DOMAIN, NODE, [(None, ["0", "1", "2", "3"])]),
        (SOCKET, CORE, [("0", ["0"]), ("1", ["1"])]),
        (SOCKET, NODE, [(None, ["0", "1"])]),
    ],
)
def test_the_groups_of_a_whole_node(
    native: MetricScope, requested: MetricScope, expected: list[tuple[str | None, list[str]]]
) -> None:
    result = ask(native, requested)
    assert groups(result) == expected
    assert result.queries[0].type is native
    assert result.queries[0].scope is target_scope(native, requested)
    assert result.errors == ()


@pytest.mark.parametrize("requested", list(MetricScope))
def test_a_metric_of_the_node_is_the_host_s_own(requested: MetricScope) -> None:
    query = ask(NODE, requested, Resource("a"), Resource("b")).queries[0]
    assert (query.scope, query.hosts, query.type, query.groups) == (NODE, ("a", "b"), None, ())


@pytest.mark.parametrize("requested", [THREAD, CORE, DOMAIN, SOCKET])
def test_accelerators_have_no_cpu_scope(requested: MetricScope) -> None:
    assert ask(GPU, requested) == QueryPlan(())


def test_an_aggregate_holds_only_what_the_job_owns() -> None:
    part = Resource("h1", hwthreads=(1, 2, 5))
    assert groups(ask(THREAD, CORE, part)) == [("1", ["1", "5"]), ("2", ["2"])]
    assert groups(ask(THREAD, SOCKET, part)) == [("0", ["1", "5"]), ("1", ["2"])]
    assert groups(ask(THREAD, NODE, part)) == [(None, ["1", "2", "5"])]
    assert groups(ask(CORE, NODE, part)) == [(None, ["1", "2"])]
    assert groups(ask(DOMAIN, SOCKET, part)) == [("0", ["1"]), ("1", ["2"])]
    assert groups(ask(SOCKET, NODE, Resource("h1", hwthreads=(0, 1)))) == [(None, ["0"])]


def test_hosts_of_one_allocation_share_a_query() -> None:
    result = ask(THREAD, CORE, Resource("a"), Resource("b", hwthreads=(0,)), Resource("c", hwthreads=()))
    assert [query.hosts for query in result.queries] == [("a", "c"), ("b",)]


def test_a_host_without_accelerators_is_left_out_alone() -> None:
    result = ask(GPU, NODE, Resource("a"), Resource("b", accelerators=("gpu1",)))
    assert [(query.hosts, query.groups[0].ids) for query in result.queries] == [(("b",), ("gpu1",))]
    assert result.errors == ()


def test_a_resulting_scope_is_asked_once() -> None:
    result = plan(job(), MAIN, [(metric(SOCKET), [NODE, CORE, SOCKET]), (metric(NODE), [NODE, CORE])])
    assert [(query.metric.scope, query.scope) for query in result.queries] == [
        (SOCKET, NODE), (SOCKET, SOCKET), (NODE, NODE),
    ]  # fmt: skip


def test_what_cannot_be_had_is_said_and_fails_nothing_else() -> None:
    bare = SubCluster("bare", "*", topology=Topology(node=(0, 1)))
    result = plan(
        job(),
        bare,
        [
            (metric(CORE, name="deep"), [NODE]),
            (metric(THREAD, aggregation="", name="odd"), [NODE, THREAD]),
            (metric(NODE, name="fine"), [NODE]),
        ],
    )
    assert [(query.metric.name, query.scope) for query in result.queries] == [
        ("odd", THREAD), ("fine", NODE),
    ]  # fmt: skip
    assert len(result.errors) == 2
    assert "deep" in result.errors[0]
    assert "aggregation" in result.errors[1]


def test_a_job_without_hosts_has_no_queries() -> None:
    nobody = Job(1, "c", "u", 1)
    assert plan(nobody, MAIN, [(metric(NODE), [NODE]), (metric(CORE), [NODE])]) == QueryPlan(())


def test_threads_the_topology_does_not_know_are_left_out() -> None:
    assert groups(ask(THREAD, CORE, Resource("h", hwthreads=(0, 99)))) == [("0", ["0"])]
    assert ask(THREAD, NODE, Resource("h", hwthreads=(99,))).queries == ()
