"""What every job store promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from clustercockpit.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource, Sharing
from clustercockpit.jobs.ports import JobStore
from clustercockpit.storage.dynamodb.changes import ChangeItem, ChangeRow, bucket_key, decode_change
from clustercockpit.storage.dynamodb.jobs import DynamoJobStore
from clustercockpit.storage.dynamodb.table import Table
from clustercockpit.storage.dynamodb.tags import DynamoTagStore
from clustercockpit.tags.ports import TagStore

NOW = 1_750_000_000.0
DAY = 86_400


@pytest.fixture
def tags(dynamodb_table: Table) -> TagStore:
    return DynamoTagStore(dynamodb_table)


@pytest.fixture
def jobs(dynamodb_table: Table, tags: TagStore) -> JobStore:
    return DynamoJobStore(
        dynamodb_table,
        tags=tags.by_ids,
        clusters=lambda: ["alex", "fritz"],
        change_shards=2,
        clock=lambda: NOW,
    )


def new_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": 7001,
        "cluster": "fritz",
        "sub_cluster": "main",
        "user": "ada",
        "project": "p1",
        "partition": "batch",
        "start_time": int(NOW) - 3600,
        "submit_time": int(NOW) - 7200,
        "walltime": 7200,
        "requested_memory": 64_000,
        "num_nodes": 2,
        "num_hwthreads": 144,
        "smt": 2,
        "shared": Sharing.SINGLE_USER,
        "resources": (Resource("f0101", tuple(range(72))), Resource("f0102", tuple(range(72)))),
        "meta_data": {"jobName": "demo", "jobScript": "#!/bin/bash\n"},
        "footprint": {"cpu_load_avg": 0.5},
        "remarks": ("odd",),
        **changes,
    }
    return Job(**values)


def changes_of(table: Table) -> list[ChangeRow]:
    model = table.model(ChangeItem)
    rows = [
        decode_change(item)
        for shard in (0, 1)
        for item in model.query(bucket_key(int(NOW // 60), shard), consistent_read=True)
    ]
    return sorted(rows, key=lambda row: (row.id, row.ver))


def test_a_started_job_comes_back_whole(jobs: JobStore) -> None:
    started = jobs.start(new_job())
    assert (started.id, started.ver) == (1, 1)
    found = jobs.get(1, with_metadata=True)
    assert found == replace(new_job(), id=1, ver=1)
    lean = jobs.get(1)
    assert lean is not None
    assert lean.meta_data is None
    assert jobs.get(99) is None


def test_ids_ascend_and_are_never_given_twice(jobs: JobStore, dynamodb_table: Table, tags: TagStore) -> None:
    ids = [jobs.start(new_job(job_id=number)).id for number in range(3)]
    assert ids == [1, 2, 3]
    other = DynamoJobStore(dynamodb_table, tags=tags.by_ids, clusters=list, change_shards=2)
    assert other.start(new_job(job_id=9)).id == 65


@pytest.mark.parametrize(
    ("offset", "accepted"),
    [(0, False), (1, False), (DAY - 1, False), (DAY, True), (-1, False), (-10 * DAY, False)],
)
def test_a_job_id_is_free_again_a_day_after_its_last_start(
    jobs: JobStore, offset: int, accepted: bool
) -> None:
    first = jobs.start(new_job())
    again = new_job(start_time=first.start_time + offset)
    if accepted:
        assert jobs.start(again).id == 2
    else:
        with pytest.raises(ConflictError, match=r"already exists: dbid: 1, jobid: 7001"):
            jobs.start(again)
    assert jobs.start(new_job(cluster="alex", start_time=again.start_time)).id > 1


def test_an_import_passes_the_guard_and_raises_it(jobs: JobStore) -> None:
    jobs.start(new_job())
    done = new_job(state=JobState.COMPLETED, monitoring_status=MonitoringStatus.ARCHIVED, duration=5)
    early = jobs.insert_finished(replace(done, start_time=done.start_time - 50))
    late = jobs.insert_finished(replace(done, start_time=done.start_time + 50))
    with pytest.raises(ConflictError, match=f"dbid: {late.id}"):
        jobs.insert_finished(replace(done, start_time=done.start_time + 50))
    with pytest.raises(ConflictError):
        jobs.start(new_job(start_time=done.start_time + 50 + DAY - 1))
    assert jobs.start(new_job(start_time=done.start_time + 50 + DAY)).id > late.id > early.id


def test_the_newest_match_has_the_greatest_start(jobs: JobStore) -> None:
    start = new_job().start_time
    old, new = jobs.start(new_job()), jobs.start(new_job(start_time=start + DAY))
    elsewhere = jobs.start(new_job(cluster="alex", start_time=start + 5))
    found = jobs.find(7001)
    assert found is not None
    assert found.id == new.id
    assert [
        job.id if job else None
        for job in (
            jobs.find(7001, "fritz"),
            jobs.find(7001, "alex"),
            jobs.find(7001, "fritz", start),
            jobs.find(7001, None, start + 5),
            jobs.find(7001, "fritz", start + 1),
            jobs.find(1, "fritz"),
        )
    ] == [new.id, elsewhere.id, old.id, elsewhere.id, None, None]


def test_a_job_stops_once(jobs: JobStore) -> None:
    job = jobs.start(new_job())
    stopped = jobs.stop(job.id, state=JobState.TIMEOUT, stop_time=job.start_time + 1800)
    assert (stopped.state, stopped.duration, stopped.ver) == (JobState.TIMEOUT, 1800, 2)
    assert jobs.get(job.id) == stopped
    with pytest.raises(ConflictError, match=r"jobId 7001 \(id 1\) on fritz : job has already been stopped"):
        jobs.stop(job.id, state=JobState.FAILED, stop_time=job.start_time + 1900)
    with pytest.raises(NotFoundError):
        jobs.stop(77, state=JobState.FAILED, stop_time=0)
    kept = jobs.get(job.id, with_metadata=True)
    assert kept is not None
    assert kept.meta_data == new_job().meta_data


def test_work_lists_follow_the_life_of_a_job(jobs: JobStore) -> None:
    first, second = jobs.start(new_job()), jobs.start(new_job(job_id=2))
    assert [job.id for job in jobs.running("fritz")] == [first.id, second.id]
    assert next(iter(jobs.running("fritz"))).resources == new_job().resources
    assert list(jobs.running("alex")) == []

    jobs.stop(second.id, state=JobState.COMPLETED, stop_time=second.start_time + 10)
    jobs.stop(first.id, state=JobState.COMPLETED, stop_time=first.start_time + 20)
    assert list(jobs.running("fritz")) == []
    assert [job.id for job in jobs.archiving_pending()] == [second.id, first.id]

    jobs.archived(first.id, status=MonitoringStatus.ARCHIVING_FAILED)
    assert [job.id for job in jobs.archiving_failed("fritz")] == [first.id]
    assert [job.id for job in jobs.archiving_pending()] == [second.id]

    jobs.archived(first.id, status=MonitoringStatus.ARCHIVED, footprint={"cpu_load_avg": 2.5}, energy=1.5)
    assert list(jobs.archiving_failed("fritz")) == []
    done = jobs.get(first.id)
    assert done is not None
    assert (done.footprint, done.energy, done.monitoring_status) == ({"cpu_load_avg": 2.5}, 1.5, 3)
    again = jobs.archived(first.id, status=MonitoringStatus.ARCHIVING_FAILED, energy=9.0)
    assert (again.monitoring_status, again.energy, again.ver) == (3, 1.5, done.ver)


def test_a_job_without_monitoring_waits_for_nothing(jobs: JobStore) -> None:
    job = jobs.start(new_job(monitoring_status=MonitoringStatus.DISABLED))
    jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time)
    assert list(jobs.archiving_pending()) == []
    assert jobs.archived(job.id, status=MonitoringStatus.ARCHIVED).monitoring_status == 0


def test_a_running_job_cannot_have_been_archived(jobs: JobStore) -> None:
    job = jobs.start(new_job())
    with pytest.raises(ConflictError, match="still running"):
        jobs.archived(job.id, status=MonitoringStatus.ARCHIVED)


def test_metadata_is_edited_key_by_key(jobs: JobStore) -> None:
    job = jobs.start(new_job())
    edited = jobs.edit_metadata(job.id, "message", "slow")
    assert edited.meta_data == {"jobName": "demo", "jobScript": "#!/bin/bash\n", "message": "slow"}
    jobs.edit_metadata(job.id, "jobName", "other")
    found = jobs.get(job.id, with_metadata=True)
    assert found is not None
    assert found.meta_data == {"jobName": "other", "jobScript": "#!/bin/bash\n", "message": "slow"}
    bare = jobs.start(new_job(job_id=2, meta_data=None))
    assert jobs.edit_metadata(bare.id, "", "x").meta_data == {"": "x"}
    with pytest.raises(NotFoundError):
        jobs.edit_metadata(77, "a", "b")


def test_long_scripts_and_irregular_jobs_are_kept_whole(jobs: JobStore) -> None:
    script = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(120_000))
    hosts = tuple(Resource(f"n{number * 2654435761 % 10**6:06d}") for number in range(400))
    job = jobs.start(new_job(meta_data={"jobScript": script}, resources=hosts, num_nodes=400))
    for found in (jobs.get(job.id, with_metadata=True), jobs.get_many([job.id], with_metadata=True)[0]):
        assert found is not None
        assert found.meta_data == {"jobScript": script}
        assert found.resources == hosts
    assert next(iter(jobs.running("fritz"))).resources == hosts
    jobs.edit_metadata(job.id, "jobScript", "short")
    found = jobs.get(job.id, with_metadata=True)
    assert found is not None
    assert found.meta_data == {"jobScript": "short"}
    stopped = jobs.stop(job.id, state=JobState.FAILED, stop_time=job.start_time)
    assert stopped.resources == hosts


def test_a_script_that_cannot_be_kept_is_refused_with_a_remedy(jobs: JobStore) -> None:
    script = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(800_000))
    with pytest.raises(InvalidInputError, match=r"metaData: .*leave the job script out"):
        jobs.start(new_job(meta_data={"jobScript": script}))


def test_many_jobs_come_in_the_order_asked(jobs: JobStore) -> None:
    ids = [jobs.start(new_job(job_id=number)).id for number in range(5)]
    asked = [ids[3], 99, ids[0], ids[3]]
    assert [job.id for job in jobs.get_many(asked)] == [ids[3], ids[0], ids[3]]
    assert jobs.get_many([]) == []
    first = jobs.get_many([ids[0]], with_metadata=True)[0]
    assert first.meta_data == new_job().meta_data


def test_a_deleted_job_leaves_nothing_and_frees_its_id(jobs: JobStore, tags: TagStore) -> None:
    start = new_job().start_time
    keep = jobs.start(new_job())
    gone = jobs.start(new_job(start_time=start + DAY))
    tag = tags.find_or_create("a", "b", "global")
    jobs.change_tags(gone.id, add=[tag])
    jobs.delete(gone.id)
    jobs.delete(gone.id)
    jobs.delete(999)
    assert jobs.get(gone.id) is None
    found = jobs.find(7001, "fritz")
    assert found is not None
    assert found.id == keep.id
    assert list(tags.jobs_with(tag.id)) == []
    # The guard stands at the job that is left
    with pytest.raises(ConflictError):
        jobs.start(new_job(start_time=start + DAY - 1))
    assert jobs.start(new_job(start_time=start + DAY)).id > gone.id
    jobs.delete(keep.id)
    later = jobs.find(7001, "fritz")
    assert later is not None
    jobs.delete(later.id)
    assert jobs.start(new_job(start_time=start - 400 * DAY)).id > 0


def test_tags_are_attached_and_detached_once(jobs: JobStore, tags: TagStore) -> None:
    job = jobs.start(new_job())
    review = tags.find_or_create("review", "ok", "global")
    private = tags.find_or_create("review", "ok", "ada")
    assert review.id != private.id
    assert tags.find_or_create("review", "ok", "global") == review
    assert jobs.change_tags(job.id, add=[review, private, review]).tags == (review, private)
    ver = jobs.change_tags(job.id, add=[review]).ver
    assert ver == 2
    assert list(tags.jobs_with(review.id)) == [job.id]
    assert jobs.change_tags(job.id, remove=[review]).tags == (private,)
    assert list(tags.jobs_with(review.id)) == []
    stopped = jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time)
    assert stopped.tags == (private,)
    tags.delete(private.id)
    found = jobs.get(job.id)
    assert found is not None
    assert found.tags == ()
    assert tags.find("review", "ok", "ada") is None
    with pytest.raises(NotFoundError):
        jobs.change_tags(77, add=[review])


def test_a_change_keeps_tags_that_another_process_has_just_made(
    jobs: JobStore, dynamodb_table: Table
) -> None:
    job = jobs.start(new_job())
    elsewhere = DynamoTagStore(dynamodb_table)
    tag = elsewhere.find_or_create("late", "news", "global")
    blind = DynamoJobStore(dynamodb_table, tags=lambda ids: (), clusters=list, change_shards=2)
    blind.change_tags(job.id, add=[tag])
    blind.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time)
    seeing = DynamoJobStore(dynamodb_table, tags=elsewhere.by_ids, clusters=list, change_shards=2).get(job.id)
    assert seeing is not None
    assert seeing.tags == (tag,)


def test_every_change_leaves_a_row_with_the_job_as_it_is_then(jobs: JobStore, dynamodb_table: Table) -> None:
    job = jobs.start(new_job())
    jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time + 7)
    jobs.edit_metadata(job.id, "message", "note")
    jobs.archived(job.id, status=MonitoringStatus.ARCHIVED, energy=3.5)
    jobs.delete(job.id)
    # Rows of one millisecond, as the clock stands still here: each replaced the one before
    (row,) = changes_of(dynamodb_table)
    assert (row.id, row.ver, row.job, row.start_time) == (1, 5, None, job.start_time)


def test_change_rows_carry_name_and_message(dynamodb_table: Table, tags: TagStore) -> None:
    ticks = iter(range(10**6))
    jobs = DynamoJobStore(
        dynamodb_table,
        tags=tags.by_ids,
        clusters=list,
        change_shards=2,
        clock=lambda: NOW + next(ticks) / 1000,
    )
    job = jobs.start(new_job())
    jobs.edit_metadata(job.id, "message", "note")
    jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time + 7)
    rows = changes_of(dynamodb_table)
    assert [row.ver for row in rows] == [1, 2, 3]
    assert [row.has_message for row in rows] == [False, True, True]
    assert {row.job_name for row in rows} == {"demo"}
    last = rows[-1].job
    assert last is not None
    assert (last.state, last.duration, last.ver) == (JobState.COMPLETED, 7, 3)
    assert [resource.hostname for resource in last.resources] == ["f0101", "f0102"]


# Races and lost answers


class _Intruder:
    """Lets something happen just before each of the next transactions reaches the table."""

    def __init__(self, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        self.acts: list[Callable[[], object]] = []
        client = table.transaction_connection.client
        self.original = client._make_api_call
        monkeypatch.setattr(client, "_make_api_call", self)

    def __call__(self, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "TransactWriteItems" and self.acts:
            self.acts.pop(0)()
        return self.original(operation, arguments)


@pytest.fixture
def intruder(dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch) -> _Intruder:
    return _Intruder(dynamodb_table, monkeypatch)


@pytest.mark.parametrize("offset", [0, 1])
def test_of_starts_at_the_same_time_one_wins(jobs: JobStore, intruder: _Intruder, offset: int) -> None:
    rival = new_job(start_time=new_job().start_time + offset)
    intruder.acts.append(lambda: jobs.start(rival))
    with pytest.raises(ConflictError, match="dbid: 2"):
        jobs.start(new_job())
    assert [job.id for job in jobs.running("fritz")] == [2]


def test_of_stops_at_the_same_time_one_wins(jobs: JobStore, intruder: _Intruder) -> None:
    job = jobs.start(new_job())
    intruder.acts.append(lambda: jobs.stop(job.id, state=JobState.FAILED, stop_time=job.start_time + 1))
    with pytest.raises(ConflictError, match="state is: failed"):
        jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time + 2)


def test_a_stop_goes_through_although_the_job_changes_meanwhile(jobs: JobStore, intruder: _Intruder) -> None:
    job = jobs.start(new_job())
    intruder.acts.append(lambda: jobs.edit_metadata(job.id, "message", "x"))
    stopped = jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time + 2)
    assert (stopped.state, stopped.ver) == (JobState.COMPLETED, 3)
    found = jobs.get(job.id, with_metadata=True)
    assert found is not None
    assert found.meta_data is not None
    assert found.meta_data["message"] == "x"


def test_edits_of_the_same_metadata_at_the_same_time_both_stay(jobs: JobStore, intruder: _Intruder) -> None:
    job = jobs.start(new_job())
    intruder.acts.append(lambda: jobs.edit_metadata(job.id, "a", "1"))
    edited = jobs.edit_metadata(job.id, "b", "2")
    assert edited.meta_data == {**(new_job().meta_data or {}), "a": "1", "b": "2"}


def test_a_job_deleted_meanwhile_is_gone(jobs: JobStore, intruder: _Intruder) -> None:
    job = jobs.start(new_job())
    intruder.acts.append(lambda: jobs.delete(job.id))
    with pytest.raises(NotFoundError):
        jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time + 2)


def test_conflicting_transactions_are_tried_again(
    jobs: JobStore, dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = dynamodb_table.transaction_connection.client
    original, refusals = client._make_api_call, [1, 1]

    def conflicting(operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "TransactWriteItems" and refusals:
            refusals.pop()
            reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
            error: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(error, operation)
        return original(operation, arguments)

    monkeypatch.setattr(client, "_make_api_call", conflicting)
    assert jobs.start(new_job()).id == 1
    assert refusals == []


class _LosingAnswers:
    """Lets transactions happen and loses the answers of the first few."""

    def __init__(self, table: Table, monkeypatch: pytest.MonkeyPatch, *, happen: bool) -> None:
        self.left = 0
        self.client = table.transaction_connection.client
        self.happen = happen
        self.original = self.client._make_api_call
        monkeypatch.setattr(self.client, "_make_api_call", self)

    def __call__(self, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "TransactWriteItems" and self.left:
            self.left -= 1
            if self.happen:
                self.original(operation, arguments)
            raise ReadTimeoutError(endpoint_url="https://dynamodb.example")
        return self.original(operation, arguments)


@pytest.fixture(params=[True, False], ids=["happened", "did-not-happen"])
def losing(
    request: pytest.FixtureRequest, dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch
) -> Iterator[_LosingAnswers]:
    return _LosingAnswers(dynamodb_table, monkeypatch, happen=request.param)


def test_a_lost_answer_is_found_out(jobs: JobStore, losing: _LosingAnswers, dynamodb_table: Table) -> None:
    losing.left = 1
    job = jobs.start(new_job())
    assert job.id == 1
    losing.left = 1
    stopped = jobs.stop(job.id, state=JobState.COMPLETED, stop_time=job.start_time + 5)
    assert (stopped.duration, stopped.ver) == (5, 2)
    losing.left = 1
    jobs.edit_metadata(job.id, "message", "x")
    found = jobs.get(job.id, with_metadata=True)
    assert found is not None
    assert (found.state, found.ver) == (JobState.COMPLETED, 3)
    losing.left = 1
    jobs.delete(job.id)
    assert jobs.get(job.id) is None


def test_a_store_that_never_answers_is_unavailable(jobs: JobStore, losing: _LosingAnswers) -> None:
    if losing.happen:
        return
    losing.left = 100
    with pytest.raises(UnavailableError):
        jobs.start(new_job())


def test_a_guard_without_a_job_behind_it_is_mended(jobs: JobStore, dynamodb_table: Table) -> None:
    from clustercockpit.storage.dynamodb.job_items import GUARD, GuardItem, natural_key

    guard = dynamodb_table.model(GuardItem)
    guard(natural_key("fritz", 7001), GUARD, last_start=new_job().start_time + 5).save()
    assert jobs.start(new_job()).id == 1


def test_a_clock_that_is_wrong_refuses_writes(
    jobs: JobStore, dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset, asked = [42.0], list[str]()
    monkeypatch.setattr(dynamodb_table, "_clock", lambda: time.time() + offset[0])
    client = dynamodb_table.transaction_connection.client
    original = client._make_api_call

    def dated(operation: str, arguments: dict[str, Any]) -> Any:
        answer = original(operation, arguments)
        asked.append(operation)
        response = SimpleNamespace(headers={"date": formatdate(time.time(), usegmt=True)})
        dynamodb_table._observe_clock(http_response=response)
        return answer

    monkeypatch.setattr(client, "_make_api_call", dated)
    # Also the first write of a process: its change row would lie in a minute that nobody reads any more
    with pytest.raises(UnavailableError, match="clock"):
        jobs.start(new_job())
    assert "TransactWriteItems" not in asked
    offset[0] = 2.0
    jobs.start(new_job())
    asked.clear()
    jobs.start(new_job(job_id=2))
    assert asked == ["TransactWriteItems"]
    offset[0] = 42.0
    jobs.start(new_job(job_id=3))
    with pytest.raises(UnavailableError, match="clock"):
        jobs.start(new_job(job_id=4))


def test_a_job_name_of_any_length_is_kept(jobs: JobStore) -> None:
    name = "n" * 500_000
    job = jobs.start(new_job(meta_data={"jobName": name}))
    found = jobs.get(job.id, with_metadata=True)
    assert found is not None
    assert found.meta_data == {"jobName": name}


@pytest.mark.parametrize(
    "fields",
    [
        {"energy": 1e200},
        {"footprint": {f"{'k' * 1000}{number}": 1.0 for number in range(900)}},
        {"user": "u" * 500_000},
    ],
    ids=["energy", "footprint", "user"],
)
def test_what_does_not_fit_is_refused_whole(
    jobs: JobStore, dynamodb_table: Table, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError, match=r"stored|energy"):
        jobs.start(new_job(**fields))
    assert jobs.find(7001) is None
    assert changes_of(dynamodb_table) == []
    job = jobs.start(new_job())
    with pytest.raises(InvalidInputError, match=r"stored|energy"):
        jobs.insert_finished(replace(new_job(job_id=2, **fields), state=JobState.COMPLETED))
    assert jobs.get(job.id, with_metadata=True) == job
    assert jobs.find(2) is None


def test_energy_too_small_to_be_any_is_none(jobs: JobStore) -> None:
    job = jobs.start(new_job(energy=1e-200))
    found = jobs.get(job.id)
    assert found is not None
    assert found.energy == 0


def test_a_start_time_beyond_every_calendar_is_refused(jobs: JobStore) -> None:
    milliseconds = replace(new_job(), start_time=1_700_000_000_000, state=JobState.COMPLETED)
    with pytest.raises(InvalidInputError, match="startTime"):
        jobs.insert_finished(milliseconds)


def test_a_cluster_name_longer_than_a_key_finds_nothing(
    jobs: JobStore, dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB refuses a key over 2048 bytes in a question, too; the emulated one does not."""
    jobs.start(new_job())
    client = dynamodb_table.model(ChangeItem)._get_connection().connection.client
    original = client._make_api_call

    def strict(operation: str, arguments: dict[str, Any]) -> Any:
        assert len(str(arguments)) < 2048
        return original(operation, arguments)

    monkeypatch.setattr(client, "_make_api_call", strict)
    assert jobs.find(7001, "c" * 3000) is None
    assert jobs.find(7001, "\N{GRINNING FACE}" * 600) is None


def test_a_tag_whose_words_are_longer_than_a_key_is_refused(tags: TagStore) -> None:
    word = "\N{GRINNING FACE}" * 255
    assert tags.find(word, word, "global") is None
    with pytest.raises(InvalidInputError, match="tag"):
        tags.find_or_create(word, word, "global")
