from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource, Sharing, Tag
from clustercockpit.storage.dynamodb.changes import (
    ChangeItem,
    bucket_key,
    change_item,
    decode_change,
    decode_image,
    encode_change,
)


def _job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": 15,
        "job_id": 7001,
        "cluster": "fritz",
        "sub_cluster": "main",
        "user": "b123dc10",
        "project": "b123dc",
        "partition": "multinode",
        "start_time": 1_750_000_000,
        "duration": 84_113,
        "walltime": 86_400,
        "num_nodes": 4,
        "num_hwthreads": 288,
        "state": JobState.COMPLETED,
        "monitoring_status": MonitoringStatus.ARCHIVED,
        "energy": 40.25,
        "footprint": {f"metric_{number}_avg": 12.75 * number for number in range(8)},
        "resources": tuple(Resource(f"f{number:04d}") for number in range(101, 105)),
        "meta_data": {"jobName": "mpirun_relax", "jobScript": "#!/bin/bash\n" * 100},
        "ver": 3,
        **changes,
    }
    return Job(**values)


def test_the_image_carries_the_index_row_but_not_the_bulk() -> None:
    job, name, has_message = decode_image(encode_change(_job(tags=(Tag("a", "b", "global", 7),))))
    assert job == _job(tags=(Tag("", "", "global", 7),), meta_data=None)
    assert (name, has_message) == ("mpirun_relax", False)


def test_a_row_is_one_write_unit() -> None:
    assert len(encode_change(_job())) < 300


@given(
    start_time=st.integers(0, 2**40),
    shared=st.sampled_from(Sharing),
    state=st.sampled_from(JobState),
    user=st.text(max_size=8),
    footprint=st.none()
    | st.dictionaries(
        st.text(min_size=1, max_size=6), st.floats(allow_nan=False, allow_infinity=False), min_size=1
    ),
)
@settings(max_examples=100, deadline=None)
def test_any_row_comes_back(**changes: Any) -> None:
    job = _job(resources=(Resource("ü[,#"),), meta_data={"message": "slow"}, **changes)
    found, name, has_message = decode_image(encode_change(job))
    job.meta_data = None
    assert (found, name, has_message) == (job, "", True)


def test_rows_and_tombstones_name_bucket_moment_and_month() -> None:
    now = 1_750_000_000.25
    row = change_item(ChangeItem, _job(), shards=2, now=now)
    assert (row.pk, row.sk) == ("C#202506151506#1", "1750000000250#0000000015")
    assert row.expires is not None
    change = decode_change(row)
    assert (change.id, change.ver, change.at_ms, change.start_time) == (
        15,
        3,
        1_750_000_000_250,
        1_750_000_000,
    )
    assert change.job is not None

    tombstone = decode_change(change_item(ChangeItem, _job(ver=4), shards=2, now=now, deleted=True))
    assert (tombstone.job, tombstone.ver, tombstone.start_time) == (None, 4, 1_750_000_000)


def test_buckets_sort_by_time() -> None:
    assert bucket_key(29166666, 0) < bucket_key(29166667, 0)
