"""Building the index: what a run reads, what it leaves, and what two of them at once do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.index_rooms import NOW, Rooms

from clustercockpit.access.model import JobVisibility
from clustercockpit.index.engine import Engine
from clustercockpit.index.manifest import PREFIX, Manifest
from clustercockpit.index.model import JobFilter, Page, Range, TextMatch
from clustercockpit.index.rows import IndexRow
from clustercockpit.jobs.model import Job, JobState

EVERYTHING = JobVisibility(everything=True)
ALL = Page(1, -1)
MINUTE = NOW // 60


def job(id: int, **fields: object) -> Job:
    return replace(Job(id=id, job_id=id, cluster="alex", user="ada", start_time=NOW - 3600), **fields)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("scratch"), memory_limit="500MB")


@pytest.fixture
def rooms(tmp_path: Path, engine: Engine) -> Rooms:
    return Rooms(tmp_path, engine=engine)


def shown(rooms: Rooms, **conditions: object) -> list[int]:
    filters = [JobFilter(**conditions)] if conditions else []  # type: ignore[arg-type]
    ids = [job.id for job in rooms.index.page(EVERYTHING, filters, None, ALL).jobs]
    assert rooms.index.count(EVERYTHING, filters) == len(ids)
    return ids


def manifest(rooms: Rooms) -> Manifest:
    assert rooms.heads.head is not None
    return Manifest.decode(rooms.objects.get(rooms.heads.head.manifest)[0])


def test_before_the_first_build_the_change_log_answers(rooms: Rooms) -> None:
    rooms.jobs.put(job(1))
    assert shown(rooms) == [1]


def test_the_first_run_builds_from_the_job_store(rooms: Rooms) -> None:
    rooms.jobs.put(job(1), at=NOW - 40 * 86_400)  # its change row is long gone for a builder
    report = rooms.builder.run()
    assert (report.rebuilt, report.changes, report.watermark) == (True, 1, MINUTE - 2)
    assert shown(rooms) == [1]


def test_a_bucket_is_taken_up_sixty_seconds_after_its_end(rooms: Rooms) -> None:
    rooms.builder.run()
    rooms.jobs.put(job(1))
    rooms.clock.now = NOW + 119
    assert rooms.builder.run().changes == 0
    rooms.clock.now = NOW + 120
    report = rooms.builder.run()
    assert (report.changes, report.watermark) == (1, MINUTE)
    assert rooms.builder.run().changes == 0  # read again, found known
    assert shown(rooms) == [1]


def test_a_run_without_changes_only_moves_the_watermark(rooms: Rooms) -> None:
    rooms.builder.run()
    before = rooms.heads.head
    objects = [stored.key for stored in rooms.objects.list(PREFIX)]
    rooms.clock.now += 60
    rooms.builder.run()
    assert before is not None
    assert rooms.heads.head == replace(before, version=2, watermark=before.watermark + 1)
    assert [stored.key for stored in rooms.objects.list(PREFIX)] == objects


def test_a_change_that_came_late_is_found_in_the_two_buckets_before_the_watermark(rooms: Rooms) -> None:
    rooms.builder.run()
    rooms.clock.now += 120
    rooms.builder.run()
    rooms.jobs.put(job(1), at=NOW - 60)  # two buckets before the watermark, after they were read
    assert rooms.heads.head is not None
    assert rooms.heads.head.watermark == MINUTE
    assert shown(rooms) == [1]
    assert rooms.builder.run().changes == 1
    assert shown(rooms) == [1]


def test_an_older_version_that_comes_late_changes_nothing(rooms: Rooms) -> None:
    rooms.builder.run()
    first = rooms.jobs.put(job(1))
    rooms.jobs.put(replace(first, user="bob"))
    late = rooms.jobs.buckets[MINUTE, 1].pop(0)
    rooms.clock.now += 120
    rooms.builder.run()
    rooms.jobs.log(late, NOW)
    assert shown(rooms, user=TextMatch(eq="bob")) == [1]
    rooms.builder.run()
    assert shown(rooms, user=TextMatch(eq="bob")) == [1]


def test_a_deleted_job_stays_deleted_through_merging_and_late_rows(tmp_path: Path, engine: Engine) -> None:
    rooms = Rooms(tmp_path, engine=engine, delta_rows=0)
    rooms.builder.run()
    rooms.jobs.put(job(1))
    rooms.jobs.put(job(2))
    late = rooms.jobs.buckets[MINUTE, 1][0]
    rooms.clock.now += 120
    assert rooms.builder.run().merged_months == 1
    rooms.jobs.delete(1)
    assert shown(rooms) == [2]
    rooms.clock.now += 120
    assert rooms.builder.run().merged_months == 1
    assert next(iter(manifest(rooms).months.values())).delta is None
    rooms.jobs.log(late, rooms.clock.now - 120)
    assert shown(rooms) == [2]
    rooms.builder.run()
    assert shown(rooms) == [2]


def test_a_month_whose_jobs_are_all_gone_is_gone(tmp_path: Path, engine: Engine) -> None:
    rooms = Rooms(tmp_path, engine=engine, delta_rows=0)
    rooms.jobs.put(job(1))
    rooms.builder.rebuild()
    rooms.jobs.delete(1)
    rooms.clock.now += 120
    rooms.builder.run()
    assert manifest(rooms).months == {}
    assert shown(rooms) == []


def test_of_two_builders_at_once_one_wins_and_nothing_is_lost(rooms: Rooms) -> None:
    rooms.builder.run()
    other = rooms.make_builder("other")
    rooms.jobs.put(job(1))
    rooms.clock.now += 120
    # The other one runs between our reading of the head and our writing of it
    read = rooms.heads.read
    runs: list[bool] = []

    def overtaken() -> object:
        head = read()
        if not runs:
            runs.append(True)
            runs.append(other.run().lost)
        return head

    rooms.heads.read = overtaken  # type: ignore[method-assign,assignment]
    report = rooms.builder.run()
    assert runs == [True, False]
    assert report.lost
    rooms.heads.read = read  # type: ignore[method-assign]
    assert shown(rooms) == [1]
    assert rooms.heads.head is not None
    assert rooms.heads.head.version == 2
    assert not rooms.builder.run().lost


def test_a_builder_that_stood_still_catches_up(rooms: Rooms) -> None:
    rooms.builder.run()
    for id in range(1, 6):
        rooms.clock.now = NOW + id * 3600
        rooms.jobs.put(job(id))
        assert shown(rooms) == list(range(1, id + 1))
    rooms.clock.now += 120
    report = rooms.builder.run()
    assert (report.changes, report.rebuilt) == (5, False)
    assert shown(rooms) == [1, 2, 3, 4, 5]


def test_after_two_days_without_a_builder_the_index_is_built_anew(rooms: Rooms) -> None:
    rooms.builder.run()
    rooms.jobs.put(job(1))
    rooms.jobs.buckets.clear()  # expired
    rooms.clock.now += 48 * 3600
    assert rooms.builder.run().rebuilt
    assert shown(rooms) == [1]


def test_more_shards_are_read_as_soon_as_someone_writes_to_them(rooms: Rooms) -> None:
    rooms.builder.run()
    rooms.jobs.shards = rooms.shards = 5
    rooms.jobs.put(job(4))
    assert shown(rooms) == []  # this reader was configured for two
    rooms.make_builder("more").run()
    assert shown(rooms) == [4]
    assert rooms.heads.head is not None
    assert rooms.heads.head.shards == 5


def test_old_objects_nobody_uses_are_swept(tmp_path: Path, engine: Engine) -> None:
    rooms = Rooms(tmp_path, engine=engine, delta_rows=0)
    rooms.builder.run()
    for id in (1, 2, 3):
        rooms.jobs.put(job(id))
        rooms.clock.now += 120
        rooms.builder.run()
    assert len(list(rooms.objects.list(PREFIX))) > 3
    rooms.clock.now += 10 * 365 * 86_400  # the files' times are of the machine's clock
    rooms.jobs.put(job(4))
    rooms.builder.rebuild()
    assert rooms.heads.head is not None
    left = {stored.key for stored in rooms.objects.list(PREFIX)}
    assert left == {*manifest(rooms).keys(), rooms.heads.head.manifest}
    assert shown(rooms) == [1, 2, 3, 4]


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "put", "delete", "build", "wait", "old row"]), st.integers(1, 4)),
        max_size=25,
    )
)
def test_whatever_happens_every_question_sees_every_change(
    steps: list[tuple[str, int]], engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rooms = Rooms(tmp_path_factory.mktemp("rooms"), engine=engine, delta_rows=1)
    rooms.builder.run()
    written: list[IndexRow] = []
    next_id = 1
    for what, number in steps:
        if what == "put":
            states = [JobState.RUNNING, JobState.COMPLETED]
            known = sorted(rooms.jobs.jobs)
            if number == 1 or not known:
                rooms.jobs.put(job(next_id))
                next_id += 1
            else:
                old = rooms.jobs.jobs[known[number % len(known)]]
                rooms.jobs.put(replace(old, user=f"user{number}", state=states[number % 2]))
        elif what == "delete" and rooms.jobs.jobs:
            rooms.jobs.delete(min(rooms.jobs.jobs))
        elif what == "build":
            rooms.builder.run()
        elif what == "wait":
            rooms.clock.now += 30 * number
        elif what == "old row" and written:
            rooms.jobs.log(written[-1], rooms.clock.now - 65)
        written = [row for rows in list(rooms.jobs.buckets.values())[-3:] for row in rows][-3:]
        assert shown(rooms) == sorted(rooms.jobs.jobs)
        for user in ("ada", "user2", "user3"):
            expected = sorted(it.id for it in rooms.jobs.jobs.values() if it.user == user)
            assert shown(rooms, user=TextMatch(eq=user)) == expected


def test_footprints_under_ever_new_names_do_not_widen_the_index_without_end(rooms: Rooms) -> None:
    rooms.jobs.put(job(1, footprint={"cpu_load_avg": 0.5}))
    rooms.builder.run()
    for id in range(2, 5):
        rooms.jobs.put(job(id, footprint={f"made_up_{id}_{number}": 1.0 for number in range(900)}))
    rooms.clock.now += 180
    rooms.builder.run()
    assert len(manifest(rooms).footprints) <= 1000
    assert shown(rooms) == [1, 2, 3, 4]
    assert shown(rooms, footprints=(("cpu_load_avg", Range(0.4, 0.6)),)) == [1]
