"""Footprints of running jobs: the object they are kept in, and what is laid over answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.index_rooms import NOW, Rooms

from clustercockpit.access.model import JobVisibility
from clustercockpit.errors import InvalidInputError, UnavailableError
from clustercockpit.footprints.running import LOOK_SECONDS, Footprints, RunningFootprints
from clustercockpit.footprints.snapshot import ClusterFootprints, JobFootprint, decode, encode, key_of
from clustercockpit.index.engine import Engine
from clustercockpit.index.model import Direction, JobFilter, JobOrder, Page, Range
from clustercockpit.index.reader import ColumnarJobIndex
from clustercockpit.jobs.model import Job, JobState
from clustercockpit.storage.directory import DirectoryObjectStore


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("engine"), memory_limit="500MB")


EVERYTHING = JobVisibility(everything=True)
values = st.dictionaries(st.text(max_size=8), st.floats(-1e9, 1e9, allow_nan=False), max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(1, 2**31 - 1), st.tuples(st.integers(0, 2**40), values), max_size=5))
def test_an_object_reads_as_it_was_written(jobs: dict[int, tuple[int, dict[str, float]]]) -> None:
    written = ClusterFootprints(7, {id: JobFootprint(at, figures) for id, (at, figures) in jobs.items()})
    assert decode(encode(written)) == written


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"version":2}', b'{"version":1,"begun":1,"keys":["a"],"jobs":[[1,2]]}',
     b'{"version":1,"begun":1,"keys":["a"],"jobs":[[1,2,"x"]]}',
     b'{"version":1,"begun":1,"keys":3,"jobs":[]}'],
)  # fmt: skip
def test_a_damaged_object_is_said(content: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode(content)


def test_only_running_jobs_have_a_newer_footprint() -> None:
    newest = Footprints({1: {"cpu_load_avg": 2.0}})
    running = Job(job_id=1, cluster="c", user="u", start_time=1, id=1, footprint={"mem_used_max": 1.0})
    assert newest.over(running).footprint == {"mem_used_max": 1.0, "cpu_load_avg": 2.0}
    running.state = JobState.COMPLETED
    assert newest.over(running) is running
    other = Job(job_id=1, cluster="c", user="u", start_time=1, id=2)
    assert newest.over(other) is other


class Counting(DirectoryObjectStore):
    """Counts what is fetched; can be cut off."""

    fetched = 0
    cut_off = False

    def get(self, key: str) -> tuple[bytes, str]:
        self.fetched += 1
        return super().get(key)

    def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
        if self.cut_off:
            raise UnavailableError("no network")
        return super().list(prefix)


def test_objects_are_fetched_when_they_changed_and_kept_when_they_cannot_be(tmp_path: Path) -> None:
    objects, clock = Counting(tmp_path), [0.0]
    reader = RunningFootprints(objects, clock=lambda: clock[0])

    def after_a_while() -> dict[int, dict[str, float]]:
        clock[0] += LOOK_SECONDS
        return {id: dict(figures) for id, figures in reader.current().jobs.items()}

    def put(cluster: str, *ids: int) -> None:
        jobs = {id: JobFootprint(1, {"f_avg": float(id)}) for id in ids}
        objects.put(key_of(cluster), encode(ClusterFootprints(1, jobs)))

    assert after_a_while() == {}
    put("alex", 1)
    put("fritz", 2)
    assert reader.current().jobs == {}  # looked a moment ago
    assert after_a_while() == {1: {"f_avg": 1.0}, 2: {"f_avg": 2.0}}
    known = reader.current()
    assert after_a_while()
    assert reader.current() is known
    assert objects.fetched == 2
    put("alex", 3)
    assert after_a_while() == {2: {"f_avg": 2.0}, 3: {"f_avg": 3.0}}
    assert objects.fetched == 3
    objects.cut_off = True
    assert after_a_while() == {2: {"f_avg": 2.0}, 3: {"f_avg": 3.0}}
    objects.cut_off = False
    objects.put(key_of("alex"), b"damaged")
    assert after_a_while() == {2: {"f_avg": 2.0}}


def test_filters_and_orders_see_the_newest_footprints(tmp_path: Path, engine: Engine) -> None:
    """Of running jobs, from the snapshot; of all others, what is stored, also of a key that only one side
    knows, before and after the index is built."""
    rooms = Rooms(tmp_path, engine=engine)
    newest = [Footprints()]
    rooms.index = ColumnarJobIndex(
        rooms.engine, rooms.objects, rooms.heads, rooms.jobs, rooms.jobs,  # type: ignore[arg-type]
        tmp_path / "over", shards=2, clock=rooms.clock, head_seconds=0,
        running_footprints=lambda: newest[0],
    )  # fmt: skip

    def job(id: int, state: JobState, **footprint: float) -> None:
        rooms.jobs.put(
            Job(job_id=id, cluster="alex", user="ada", start_time=NOW - 1000, id=id, state=state,
                footprint=footprint or None)
        )  # fmt: skip

    job(1, JobState.RUNNING)
    job(2, JobState.RUNNING, flops_avg=9.0)
    job(3, JobState.COMPLETED, flops_avg=5.0)
    job(4, JobState.RUNNING)

    def above(least: float, key: str = "flops_avg") -> list[int]:
        wanted = [JobFilter(footprints=((key, Range(least, None)),))]
        found = rooms.index.page(EVERYTHING, wanted, None, Page())
        assert rooms.index.count(EVERYTHING, wanted) == len(found.jobs)
        return [job.id for job in found.jobs]

    def ordered(key: str = "flops_avg") -> list[tuple[int, float | None]]:
        page = rooms.index.page(EVERYTHING, [], JobOrder(key, Direction.DESCENDING, footprint=True), Page())
        return [(job.id, (job.footprint or {}).get(key)) for job in page.jobs]

    for _ in range(2):
        newest[0] = Footprints()
        assert above(1.0) == [2, 3]
        # The ended job's entry is a left-over of its run
        newest[0] = Footprints(
            {1: {"flops_avg": 7.0, "mem_max": 1.0}, 2: {"flops_avg": 2.0}, 3: {"flops_avg": 99.0}}
        )
        assert above(1.0) == [1, 2, 3]
        assert above(6.0) == [1]
        assert above(0.5, "mem_max") == [1]
        assert ordered() == [(1, 7.0), (3, 5.0), (2, 2.0), (4, None)]
        assert ordered("mem_max")[0] == (1, 1.0)
        rooms.clock.now += 300
        rooms.builder.run()
