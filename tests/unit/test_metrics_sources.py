"""Series of a job from a store, from the archive, and the choice between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from clustercockpit.archive.job_archive import ObjectJobArchive
from clustercockpit.clusters.model import (
    Accelerator,
    Cluster,
    GlobalMetric,
    MetricConfig,
    MetricScope,
    SubCluster,
    Topology,
    Unit,
)
from clustercockpit.errors import (
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource
from clustercockpit.metrics import frame
from clustercockpit.metrics.archived import ArchivedSource, of_nodes
from clustercockpit.metrics.cache import BoundedCache
from clustercockpit.metrics.choice import StoreChoice
from clustercockpit.metrics.external_store import ExternalStoreClient
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameSeries
from clustercockpit.metrics.live import LiveSource
from clustercockpit.metrics.loader import MetricLoader
from clustercockpit.metrics.model import JobData, JobMetric, LoadedJobData, Series, SeriesStatistics
from clustercockpit.metrics.resampling import bucket_width, merge
from clustercockpit.metrics.scopes import Group, SeriesQuery
from clustercockpit.metrics.statistics_series import statistics_of
from clustercockpit.metrics.store_client import MetricStoreClient, batched
from clustercockpit.storage.directory import DirectoryObjectStore

NAN = math.nan
NODE, CORE, SOCKET = MetricScope.NODE, MetricScope.CORE, MetricScope.SOCKET
LOAD = MetricConfig("cpu_load", Unit(), NODE, "avg", 60)
FLOPS = MetricConfig("flops_any", Unit("F/s", "G"), MetricScope.HWTHREAD, "sum", 60)
POWER = MetricConfig("acc_power", Unit("W"), MetricScope.ACCELERATOR, "sum", 60)
TOPOLOGY = Topology(
    node=(0, 1, 2, 3), socket=((0, 1, 2, 3),), core=((0, 2), (1, 3)), accelerators=(Accelerator("gpu0"),)
)
MAIN = SubCluster("main", "*", topology=TOPOLOGY, metric_config=(LOAD, FLOPS, POWER))
FRITZ = Cluster("fritz", (LOAD, FLOPS, POWER), (MAIN,))
START = 1_700_000_000  # 20 s after a full minute


class Catalog:
    def __init__(self, *clusters: Cluster) -> None:
        self._clusters = clusters or (FRITZ,)

    def clusters(self) -> Sequence[Cluster]:
        return self._clusters

    def cluster(self, name: str) -> Cluster | None:
        return next((each for each in self._clusters if each.name == name), None)

    def global_metrics(self) -> Sequence[GlobalMetric]:
        return ()

    def sub_cluster_of(self, cluster: str, hostname: str) -> SubCluster | None:
        return MAIN


class Store:
    """A metric store that measures `value(host, ids, time)` at a phase of its own for each host."""

    def __init__(self, value: Callable[[str, float], float], phases: dict[str, int]) -> None:
        self.value = value
        self.phases = phases
        self.asked: list[tuple[str, Sequence[SeriesQuery], float, float, float]] = []

    def frame(
        self, cluster: str, queries: Sequence[SeriesQuery], start: float, end: float, resolution: float
    ) -> Frame:
        self.asked.append((cluster, queries, start, end, resolution))
        answer = Frame(end, start, end)
        for query in queries:
            step = query.metric.timestep
            metric = FrameMetric(query.metric.name, query.scope, Unit("?"), step)
            for host in query.hosts:
                if host not in self.phases:
                    continue
                first = math.ceil((start - self.phases[host]) / step) * step + self.phases[host]
                times = np.arange(first, end, step)
                samples = np.array([self.value(host, time) for time in times])
                buckets = merge(samples, first, step, bucket_width(step, resolution))
                for group in query.groups or (Group(None, ()),):
                    metric.series.append(
                        FrameSeries(
                            host, FrameGrid(buckets.start, buckets.step), buckets.mean,
                            statistics_of(samples), group.id, buckets.min, buckets.max,
                        )
                    )  # fmt: skip
            answer.metrics.append(metric)
        return answer


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": 7, "cluster": "fritz", "user": "u", "start_time": START, "id": 3, "sub_cluster": "main",
        "state": JobState.COMPLETED, "duration": 600, "num_nodes": 2, "ver": 2,
        "resources": (Resource("f1"), Resource("f2")),
    }  # fmt: skip
    return Job(**(values | changes))


def minutes(host: str, time: float) -> float:
    return (time - START) // 60


def live(store: Store, **options: Any) -> LiveSource:
    return LiveSource(lambda cluster, sub_cluster: store, Catalog(), clock=lambda: START + 300, **options)


# The metric store


def test_series_of_different_phases_share_the_job_s_axis() -> None:
    # f1 measures 5 s after the start, then every minute; f2 at 50 s, and its first three are missing
    store = Store(
        lambda host, time: NAN if host == "f2" and time < START + 180 else minutes(host, time),
        {"f1": (START + 5) % 60, "f2": (START + 50) % 60},
    )
    loaded = live(store).load(job(), ["cpu_load"], None, 0)
    metric = loaded.data["cpu_load"][NODE]
    assert (metric.timestep, metric.unit) == (60, LOAD.unit)
    np.testing.assert_array_equal(metric.series[0].data, range(10))
    np.testing.assert_array_equal(metric.series[1].data, [NAN, NAN, NAN, *range(3, 10)])
    assert metric.series[0].statistics == SeriesStatistics(4.5, 0, 9)
    assert loaded.errors == []
    assert store.asked[0][2:] == (START, START + 600, 0)


def test_a_late_host_is_not_drawn_shifted() -> None:
    class Late(Store):
        def frame(self, *asked: Any) -> Frame:
            answer = super().frame(*asked)
            series = answer.metrics[0].series[1]
            series.mean = series.mean[4:]
            series.grid.start += 4 * 60
            return answer

    loaded = live(Late(minutes, {"f1": START % 60, "f2": START % 60})).load(job(), ["cpu_load"], None, 0)
    late = loaded.data["cpu_load"][NODE].series[1].data
    np.testing.assert_array_equal(late, [NAN] * 4 + list(range(4, 10)))


def test_a_running_job_ends_now() -> None:
    store = Store(minutes, {"f1": 0})
    running = job(state=JobState.RUNNING, duration=0)
    live(store).load(running, ["cpu_load"], None, 0)
    assert store.asked[0][2:4] == (START, START + 300)


def test_the_store_is_asked_for_what_the_scopes_need() -> None:
    store = Store(minutes, {"f1": 0, "f2": 0})
    loaded = live(store).load(job(), ["flops_any", "acc_power", "nonsense"], [NODE, CORE], 0)
    queries = store.asked[0][1]
    assert [(query.metric.name, query.scope) for query in queries] == [
        ("flops_any", NODE), ("flops_any", CORE),
    ]  # fmt: skip
    assert [series.id for series in loaded.data["flops_any"][CORE].series] == ["0", "1", "0", "1"]
    assert loaded.data["flops_any"][CORE].unit == FLOPS.unit
    assert "acc_power" not in loaded.data
    assert any("nonsense" in error for error in loaded.errors)


def test_nothing_to_ask_is_no_request() -> None:
    store = Store(minutes, {})
    assert live(store).load(job(), ["acc_power"], None, 0).data == {}
    assert store.asked == []


def test_thinning_follows_the_reference() -> None:
    store = Store(minutes, {"f1": 0, "f2": 0})
    source = live(store, minimum_points=lambda: 5)
    loaded = source.load(job(), ["cpu_load"], None, 120)
    metric = loaded.data["cpu_load"][NODE]
    assert (metric.timestep, [len(series.data) for series in metric.series]) == (120, [5, 5])
    odd = source.load(job(), ["cpu_load"], None, 90)
    assert odd.data["cpu_load"][NODE].timestep == 60
    assert "multiple" in odd.errors[0]


@pytest.mark.parametrize("unknown", [{"cluster": "gone"}, {"sub_cluster": "gone"}])
def test_a_cluster_that_is_gone(unknown: dict[str, str]) -> None:
    with pytest.raises(NotFoundError, match="not configured any more"):
        live(Store(minutes, {})).load(job(**unknown), None, None, 0)


def test_a_window_that_ends_before_it_begins() -> None:
    with pytest.raises(InvalidInputError, match="before it begins"):
        live(Store(minutes, {})).load(job(), None, None, 0, start=START + 20, end=START + 10)


def test_a_frame_has_whole_buckets_from_the_window_s_first() -> None:
    store = Store(minutes, {"f1": START % 60, "f2": START % 60})
    whole = live(store).frame(job(), ["cpu_load"], None, 180).metrics[0].series[0]
    part = live(store).frame(job(), ["cpu_load"], None, 180, start=START + 250).metrics[0].series[0]
    skipped = round((part.grid.start - whole.grid.start) / 180)
    assert part.grid.start - 90 <= START + 250 < part.grid.start + 90
    np.testing.assert_array_equal(part.mean, whole.mean[skipped:])


# Our store over HTTP


def answering(handler: Callable[[httpx.Request], httpx.Response]) -> MetricStoreClient:
    return MetricStoreClient("http://store/", lambda: "secret", httpx.MockTransport(handler))


def query(hosts: Sequence[str] = ("f1",), groups: tuple[Group, ...] = ()) -> SeriesQuery:
    if groups:
        return SeriesQuery(FLOPS, CORE, tuple(hosts), MetricScope.HWTHREAD, groups)
    return SeriesQuery(LOAD, NODE, tuple(hosts))


def test_the_request_is_the_documented_one() -> None:
    seen: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=frame.encode(Frame(1, 0, 60, errors=["x"])))

    group = Group("0", ("0", "2"))
    answer = answering(store).frame("fritz", [query(), query(["f1", "f2"], (group,))], 0, 600, 60)
    assert answer.errors == ["x"]
    assert seen[0].url == "http://store/api/frame"
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert orjson.loads(seen[0].content) == {
        "cluster": "fritz",
        "from": 0,
        "to": 600,
        "resolution": 60,
        "queries": [
            {"metric": "cpu_load", "scope": "node", "hosts": ["f1"], "type": None},
            {
                "metric": "flops_any",
                "scope": "core",
                "hosts": ["f1", "f2"],
                "type": "hwthread",
                "groups": [{"id": "0", "ids": ["0", "2"]}],
                "aggregation": "sum",
            },
        ],
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, ConfigurationError), (413, TooLargeError), (503, UnavailableError), (400, UnavailableError)],
)
def test_what_a_status_means(status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        answering(lambda _: httpx.Response(status, text="why")).frame("fritz", [query()], 0, 60, 0)


def test_a_store_that_does_not_answer_or_answers_nonsense() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(UnavailableError, match="reached"):
        answering(broken).frame("fritz", [query()], 0, 60, 0)
    with pytest.raises(UnavailableError, match="no usable answer"):
        answering(lambda _: httpx.Response(200, content=b"{}")).frame("fritz", [query()], 0, 60, 0)


def test_large_questions_are_divided_and_answers_joined() -> None:
    hosts = [f"f{number}" for number in range(10)]
    parts = list(batched([query(hosts), query(["x"])], 6000, 300))
    assert [[q.hosts for q in part] for part in parts] == [
        [tuple(hosts[0:3])], [tuple(hosts[3:6])], [tuple(hosts[6:9])], [(hosts[9],), ("x",)],
    ]  # fmt: skip
    one_by_one = list(batched([query(["a", "b"], (Group("0", ("0", "1")),))], 6000, 1))
    assert [part[0].hosts for part in one_by_one] == [("a",), ("b",)]

    def store(request: httpx.Request) -> httpx.Response:
        answer = Frame(5, 0, 1, errors=["same"])
        for item in orjson.loads(request.content)["queries"]:
            series = [
                FrameSeries(host, FrameGrid(0, 60), np.zeros(2), SeriesStatistics(0, 0, 0))
                for host in item["hosts"]
            ]
            answer.metrics.append(FrameMetric(item["metric"], NODE, Unit(), 60, series))
        return httpx.Response(200, content=frame.encode(answer))

    many = [f"n{number}" for number in range(3000)]
    answer = answering(store).frame("fritz", [query(many)], 0, 60_000, 0)
    assert [series.hostname for series in answer.metrics[0].series] == many
    assert answer.errors == ["same"]
    assert answering(store).frame("fritz", [], 0, 60, 0).metrics == []


# An external store


def test_an_external_store_is_asked_one_question_per_series() -> None:
    seen: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        questions = orjson.loads(request.content)["queries"]
        results: list[list[dict[str, Any]]] = []
        for question in questions:
            if question.get("type-ids") == ["1", "3"]:
                results.append([])  # has no such component, and says nothing
            elif question["host"] == "f2":
                results.append([{"error": "broken", "from": 0, "to": 0, "resolution": 0}])
            else:
                results.append([{"data": [1.0, None, 3.0], "from": 120, "to": 300, "resolution": 60}])
        return httpx.Response(200, json={"results": results})

    client = ExternalStoreClient("http://ext", "secret", httpx.MockTransport(store))
    asked = [query(["f1"], (Group("0", ("0", "2")), Group("1", ("1", "3")))), query(["f1", "f2"])]
    answer = client.frame("fritz", asked, 60, 600, 0)
    assert (seen[0].method, seen[0].url.path, seen[0].url.query) == ("GET", "/api/query", b"version=v2")
    assert orjson.loads(seen[0].content)["queries"][0] == {
        "metric": "flops_any", "host": "f1", "resolution": 0, "type": "hwthread", "type-ids": ["0", "2"],
        "aggreg": True,
    }  # fmt: skip
    assert [(m.name, [(s.hostname, s.id) for s in m.series]) for m in answer.metrics] == [
        ("flops_any", [("f1", "0")]), ("cpu_load", [("f1", None)]),
    ]  # fmt: skip
    series = answer.metrics[1].series[0]
    assert (series.grid.start, series.grid.step) == (120, 60)
    np.testing.assert_array_equal(series.mean, [1, NAN, 3])
    assert series.statistics == SeriesStatistics(2, 1, 3)
    assert answer.errors == ["cpu_load: f2: broken"]


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"results": 7}'])
def test_an_external_store_that_answers_nonsense(text: str) -> None:
    client = ExternalStoreClient(
        "http://ext", "", httpx.MockTransport(lambda _: httpx.Response(200, text=text))
    )
    with pytest.raises(UnavailableError):
        client.frame("fritz", [query()], 0, 60, 0)


@pytest.mark.parametrize(
    "item",
    [7, {}, {"data": ["x"], "from": 0, "resolution": 60}, {"data": [[1]], "from": 0, "resolution": 60}],
)
def test_one_unusable_series_of_an_external_store(item: object) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"results": [[item]]}))
    assert ExternalStoreClient("http://ext", "", transport).frame("fritz", [query()], 0, 60, 0).metrics == []


@dataclass(frozen=True)
class Entry:
    scope: str
    url: str
    token: str = "t"


def test_which_store_has_a_cluster() -> None:
    own = Store(minutes, {})
    entries = [Entry("*", "all"), Entry("fritz", "old"), Entry("fritz", "f"), Entry("fritz-spr", "s")]
    choice = StoreChoice(lambda: own, lambda: entries)
    assert choice("fritz", "spr") is not choice("fritz", "main")
    assert choice("fritz", "main") is choice("fritz", "other")
    assert choice("alex", "a40") is not choice("fritz", "main")
    entries.clear()
    assert choice("alex", "a40") is own


# The archive


def stored() -> JobData:
    def series(host: str, scale: float, id: str | None = None) -> Series:
        data = np.arange(10, dtype=np.float64) * scale
        return Series(host, data, statistics_of(data), id)

    return {
        "cpu_load": {NODE: JobMetric(Unit(), 60, [series("f1", 1), series("f2", 2)])},
        "flops_any": {
            CORE: JobMetric(FLOPS.unit, 60, [series("f1", 1, "0"), series("f1", 3, "1")]),
            SOCKET: JobMetric(FLOPS.unit, 60, [series("f1", 4, "0")]),
        },
    }


@pytest.fixture
def archived(tmp_path: Path) -> ArchivedSource:
    archive = ObjectJobArchive(DirectoryObjectStore(tmp_path))
    archive.write(job(), stored())
    return ArchivedSource(archive, Catalog(), minimum_points=lambda: 5, clock=lambda: START + 9999)


def test_the_archive_answers_scopes_as_the_reference(archived: ArchivedSource) -> None:
    def scopes(*asked: MetricScope) -> list[set[MetricScope]]:
        return [set(found) for found in archived.load(job(), None, asked or None, 0).data.values()]

    assert scopes() == [{NODE}, {CORE, SOCKET}]
    assert scopes(CORE) == [{NODE}, {CORE}]
    assert scopes(MetricScope.HWTHREAD) == [{NODE}, {CORE, SOCKET}]
    # Node is made where it is missing
    assert scopes(NODE, CORE) == [{NODE}, {NODE, CORE}]
    made = archived.load(job(), ["flops_any"], [NODE], 0).data["flops_any"][NODE].series
    assert [(each.hostname, each.id) for each in made] == [("f1", None)]
    np.testing.assert_array_equal(made[0].data, np.arange(10) * 4)
    assert made[0].statistics == SeriesStatistics(18, 0, 36)


def test_the_archive_thins_out_and_cuts(archived: ArchivedSource) -> None:
    metric = archived.load(job(), ["cpu_load"], None, 120).data["cpu_load"][NODE]
    assert (metric.timestep, [len(series.data) for series in metric.series]) == (120, [5, 5])
    # What was read stays as it was
    assert archived.load(job(), ["cpu_load"], None, 0).data["cpu_load"][NODE].timestep == 60
    odd = archived.load(job(), ["cpu_load"], None, 90)
    assert odd.data["cpu_load"][NODE].timestep == 60
    assert "multiple" in odd.errors[0]
    cut = archived.load(job(), ["cpu_load"], None, 0, start=START + 61, end=START + 241)
    series = cut.data["cpu_load"][NODE].series[0]
    np.testing.assert_array_equal(series.data, [2, 3, 4])
    assert series.statistics == SeriesStatistics(3, 2, 4)


def test_a_frame_of_the_archive(archived: ArchivedSource) -> None:
    answer = archived.frame(job(), ["flops_any", "cpu_load", "gone"], [CORE, MetricScope.HWTHREAD], 0)
    assert [(m.name, m.scope, len(m.series)) for m in answer.metrics] == [
        ("flops_any", CORE, 2), ("cpu_load", NODE, 2),
    ]  # fmt: skip
    assert "gone" in answer.errors[0]
    series = answer.metrics[1].series[0]
    assert (series.grid.start, series.grid.step, series.min) == (START, 60, None)
    made = archived.frame(job(), ["flops_any"], None, 0).metrics
    assert [(m.scope, [s.id for s in m.series]) for m in made] == [(NODE, [None])]


def test_buckets_of_the_archive_continue_each_other(archived: ArchivedSource) -> None:
    whole = archived.frame(job(), ["cpu_load"], None, 180).metrics[0].series[0]
    part = archived.frame(job(), ["cpu_load"], None, 180, start=START + 250).metrics[0].series[0]
    skipped = round((part.grid.start - whole.grid.start) / 180)
    assert skipped > 0
    # No sample since then is in an earlier bucket
    assert part.grid.start - 60 - 60 < START + 250
    np.testing.assert_array_equal(part.mean, whole.mean[skipped:])
    assert whole.min is not None
    assert whole.min[0] == 0


def test_a_sum_with_a_missing_part_is_missing() -> None:
    parts = [np.array([1.0, 2, 3]), np.array([10.0, 20, 30, 40, 50])]
    metric = JobMetric(Unit(), 60, [Series("h", part, statistics_of(part), "0") for part in parts])
    summed = of_nodes(metric, "sum").series[0]
    np.testing.assert_array_equal(summed.data, [11, 22, 33, NAN, NAN])
    assert summed.statistics == SeriesStatistics(22, 11, 33)
    np.testing.assert_array_equal(of_nodes(metric, "avg").series[0].data, [5.5, 11, 16.5, 40, 50])


# The choice


class Recording:
    def __init__(self) -> None:
        self.calls = 0

    def load(self, *asked: Any, **window: Any) -> Any:
        self.calls += 1
        data = np.array([1.0, 2.0])
        series = [Series(f"h{i}", data + i, SeriesStatistics(1.005, NAN, 2.675)) for i in range(8)]
        return LoadedJobData({"m": {NODE: JobMetric(Unit(), 60, series)}})

    def frame(self, *asked: Any, **window: Any) -> Any:
        self.calls += 1
        return Frame(0, 0, 1)


@pytest.mark.parametrize(
    ("state", "status", "from_archive"),
    [
        (JobState.RUNNING, MonitoringStatus.RUNNING_OR_ARCHIVING, False),
        (JobState.COMPLETED, MonitoringStatus.RUNNING_OR_ARCHIVING, False),
        (JobState.COMPLETED, MonitoringStatus.ARCHIVING_FAILED, False),
        (JobState.COMPLETED, MonitoringStatus.ARCHIVED, True),
    ],
)
def test_where_a_job_is_read(state: JobState, status: MonitoringStatus, from_archive: bool) -> None:
    live, archived = Recording(), Recording()
    loader = MetricLoader(live, archived)
    this = job(state=state, monitoring_status=status)
    loaded = loader.load(this, None, None, 0)
    loader.load(this, None, None, 0)
    loader.frame(this, None, None, 0)
    # The second loading is remembered, frames are not
    assert (live.calls, archived.calls) == ((0, 2) if from_archive else (2, 0))
    metric = loaded.data["m"][NODE]
    assert metric.series[0].statistics.max == 2.68
    assert math.isnan(metric.series[0].statistics.min)
    assert metric.statistics_series is not None
    np.testing.assert_array_equal(metric.statistics_series.median, [4.5, 5.5])


def test_a_job_that_was_not_monitored() -> None:
    with pytest.raises(NotFoundError, match="disabled"):
        MetricLoader(Recording(), Recording()).load(
            job(monitoring_status=MonitoringStatus.DISABLED), None, None, 0
        )


def test_the_memory_is_bounded_in_size_and_age() -> None:
    now = [0.0]
    cache: BoundedCache[str] = BoundedCache(10, clock=lambda: now[0])
    computed: list[str] = []

    def get(key: str, value: str) -> str:
        def compute() -> str:
            computed.append(key)
            return value

        return cache.get(key, compute, len, 60)

    assert get("a", "1234") == "1234"
    assert get("a", "other") == "1234"
    get("b", "12345")
    get("a", "")  # used again, so b is the oldest
    get("c", "1234")
    get("b", "12345")
    assert computed == ["a", "b", "c", "b"]
    get("huge", "12345678901")
    get("huge", "12345678901")
    assert computed[-2:] == ["huge", "huge"]
    now[0] = 61
    get("b", "x")
    assert computed[-1] == "b"
