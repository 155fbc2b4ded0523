"""The same question to the index and to plain Python over the same jobs: the answers agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.index_rooms import FOOTPRINTS, NOW, Rooms, hosts, job_lists, names

from clustercockpit.access.model import JobVisibility
from clustercockpit.errors import InvalidInputError, TooLargeError
from clustercockpit.index.engine import Engine
from clustercockpit.index.matching import is_like, matches
from clustercockpit.index.model import Direction, JobFilter, JobOrder, Page, Range, TextMatch
from clustercockpit.index.sql import ORDER_COLUMNS
from clustercockpit.jobs.model import Job, JobState, Sharing

EVERYTHING = JobVisibility(everything=True)

texts = names | hosts | st.sampled_from(["a", "%", "_", "B", "12", "7", " 7", "1e3", "\\", "n0_", "main"])
text_matches = st.builds(
    TextMatch,
    eq=st.none() | texts,
    neq=st.none() | st.none() | texts,
    starts_with=st.none() | texts,
    ends_with=st.none() | texts,
    contains=st.none() | texts,
    one_of=st.none() | st.lists(texts, max_size=3).map(tuple),
)
bound = st.none() | st.integers(-5, 5000) | st.floats(-5, 200, allow_nan=False)
ranges = st.builds(Range, bound, bound)
times = st.builds(
    Range,
    st.none() | st.integers(NOW - 40 * 86_400, NOW),
    st.none() | st.integers(NOW - 40 * 86_400, NOW),
)
filters = st.builds(
    JobFilter,
    ids=st.none() | st.lists(st.integers(0, 12), max_size=6).map(tuple),
    job_id=st.none() | text_matches,
    array_job_id=st.none() | st.sampled_from([0, 7]),
    user=st.none() | text_matches,
    project=st.none() | text_matches,
    job_name=st.none() | text_matches,
    cluster=st.none() | text_matches,
    sub_cluster=st.none() | text_matches,
    partition=st.none() | text_matches,
    node=st.none() | text_matches,
    states=st.none() | st.lists(st.sampled_from(list(JobState)[2:11]), max_size=3).map(tuple),
    shared=st.none() | st.sampled_from(list(Sharing)),
    schedule=st.none() | st.sampled_from(["interactive", "batch", "other"]),
    tags=st.none() | st.lists(st.integers(1, 4), max_size=2).map(tuple),
    only_tags=st.none() | st.lists(st.integers(1, 4), max_size=3).map(tuple),
    start_time=st.none() | times,
    duration=st.none() | ranges,
    num_nodes=st.none() | ranges,
    num_hwthreads=st.none() | ranges,
    num_acc=st.none() | ranges,
    energy=st.none() | ranges,
    footprints=st.lists(st.tuples(st.sampled_from([*FOOTPRINTS, "unknown"]), ranges), max_size=1).map(tuple),
)


@st.composite
def sparse_filters(draw: st.DrawFn) -> JobFilter:
    """Few conditions at a time: many together match nothing and prove nothing."""
    full = draw(filters)
    kept = draw(st.sets(st.sampled_from(list(JobFilter.__slots__)), max_size=2))
    return JobFilter(**{name: getattr(full, name) for name in kept})


visibilities = st.sampled_from(
    [
        EVERYTHING,
        JobVisibility(username="ada"),
        JobVisibility(username="ada", projects=frozenset({"p1", "p2"})),
        JobVisibility(username="x'--"),
    ]
)
orders = st.none() | st.builds(
    lambda field, direction: JobOrder(field, direction, footprint=field not in ORDER_COLUMNS),
    st.sampled_from([*ORDER_COLUMNS, *FOOTPRINTS, "unknown"]),
    st.sampled_from(list(Direction)),
)


def expected_order(jobs: list[Job], order: JobOrder | None) -> list[int]:
    if order is None:
        return sorted(job.id for job in jobs)

    def value(job: Job) -> object:
        if order.footprint:
            return (job.footprint or {}).get(order.field)
        return job.elapsed(NOW) if order.field == "duration" else getattr(job, order.field)

    def key(job: Job) -> tuple[bool, object]:
        it = value(job)
        return (it is not None, it.encode() if isinstance(it, str) else it or 0)

    # Both sorts are stable, also the reversed one: ties stay by id descending
    by_id = sorted(jobs, key=lambda job: -job.id)
    return [job.id for job in sorted(by_id, key=key, reverse=order.direction is Direction.DESCENDING)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("scratch"), memory_limit="500MB")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    jobs=job_lists(),
    place=st.sampled_from(["overlay", "delta", "segment", "everywhere"]),
    wanted=st.lists(sparse_filters(), max_size=2),
    order=orders,
    visibility=visibilities,
    size=st.sampled_from([-1, 1, 2, 5]),
    number=st.integers(0, 3),
)
def test_an_index_answers_as_python_does(
    engine: Engine,
    jobs: list[Job],
    place: str,
    wanted: list[JobFilter],
    order: JobOrder | None,
    visibility: JobVisibility,
    size: int,
    number: int,
) -> None:
    with TemporaryDirectory() as folder:
        rooms = Rooms(Path(folder), engine=engine)
        fill(rooms, jobs, place)
        matching = [job for job in jobs if visibility.admits(job) and matches(job, wanted, NOW)]
        ids = expected_order(matching, order)
        assert rooms.index.count(visibility, wanted) == len(ids)
        page = rooms.index.page(visibility, wanted, order, Page(number, size))
        offset = 0 if size == -1 else (max(number, 1) - 1) * size
        end = len(ids) if size == -1 else offset + size
        assert [job.id for job in page.jobs] == ids[offset:end]
        assert page.has_next_page == (len(ids) > end)


def fill(rooms: Rooms, jobs: list[Job], place: str) -> None:
    """Bring jobs into the index, into one of its parts or over older versions of themselves in others."""
    if place == "overlay":
        for job in jobs:
            rooms.jobs.put(job)
        return
    if place == "delta":
        rooms.builder.rebuild()
    for job in jobs:
        older = replace(job, user="older", footprint={"only_older": 1.0}) if place == "everywhere" else job
        rooms.jobs.put(older, at=NOW - 3000)
    gone = replace(jobs[0], id=99) if jobs and place == "everywhere" else None
    if gone is not None:
        rooms.jobs.put(gone, at=NOW - 3000)
    if place == "delta":
        rooms.heads.head = replace(rooms.heads.head, watermark=NOW // 60 - 60)
        rooms.builder.run()
        return
    rooms.builder.rebuild()
    if place == "everywhere":
        for job in jobs:
            rooms.jobs.put(replace(job, user="newer") if job.id % 2 else job, at=NOW - 200)
        if gone is not None:
            rooms.jobs.delete(99, at=NOW - 200)
        rooms.heads.head = replace(rooms.heads.head, watermark=NOW // 60 - 10)
        rooms.builder.run()
        for job in jobs:
            if job.id % 2:
                rooms.jobs.put(job)


@pytest.mark.parametrize(
    ("text", "pattern", "answer"),
    [
        ("abc", "abc", True),
        ("abc", "a%", True),
        ("abc", "%c", True),
        ("abc", "%b%", True),
        ("abc", "a_c", True),
        ("abc", "a%bc%c", False),
        ("aXbXc", "a%b%c", True),
        ("ab", "a%ab", False),
        ("a\nb", "a%b", True),
        ("a.b", "a_b", True),
        ("axb", "a.b", False),
        ("", "%", True),
        ("", "", True),
        ("", "_", False),
        ("aa", "%a%a%", True),
        ("a", "%a%a%", False),
    ],
)
def test_like(text: str, pattern: str, answer: bool) -> None:
    assert is_like(text, pattern) is answer


def test_a_pattern_of_many_wildcards_takes_no_time() -> None:
    assert not is_like("a" * 2000, "%a" * 60 + "%b")


@pytest.mark.parametrize("field", ["", "meta_data", "job_id; DROP TABLE jobs", '"user"', "no_such"])
def test_jobs_are_not_ordered_by_what_is_no_column(tmp_path: Path, engine: Engine, field: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be ordered by"):
        Rooms(tmp_path, engine=engine).index.page(EVERYTHING, [], JobOrder(field), Page())


@pytest.mark.parametrize("size", [0, -2])
def test_a_page_has_a_size(tmp_path: Path, engine: Engine, size: int) -> None:
    with pytest.raises(InvalidInputError, match=f"invalid items-per-page value: {size}"):
        Rooms(tmp_path, engine=engine).index.page(EVERYTHING, [], None, Page(1, size))


def test_more_than_can_be_answered_is_refused(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = Rooms(tmp_path, engine=engine)
    for id in (1, 2, 3):
        rooms.jobs.put(Job(id=id, job_id=id, cluster="alex", user="ada", start_time=NOW))
    monkeypatch.setattr("clustercockpit.index.reader.MOST_JOBS", 2)
    assert len(rooms.index.page(EVERYTHING, [], None, Page(1, 2)).jobs) == 2
    for size in (-1, 3, 10**9):
        with pytest.raises(TooLargeError, match="more than 2 jobs match"):
            rooms.index.page(EVERYTHING, [], None, Page(1, size))
    assert rooms.index.count(EVERYTHING, []) == 3
