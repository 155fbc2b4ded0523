"""The job archive over each object store, and the values of `spec/job-archive.md` 23."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from moto import mock_aws

from clustercockpit.archive.job_archive import JobIdentity, ObjectJobArchive
from clustercockpit.clusters.model import MetricScope, Unit
from clustercockpit.errors import ConfigurationError, InvalidInputError, NotFoundError
from clustercockpit.jobs.model import Job, JobState, JobStatistics, Tag
from clustercockpit.metrics.model import JobData, JobMetric, Series, SeriesStatistics
from clustercockpit.settings import Settings
from clustercockpit.storage import aws
from clustercockpit.storage.directory import DirectoryObjectStore
from clustercockpit.storage.objects import ObjectStore
from clustercockpit.storage.s3 import S3ObjectStore

UPSTREAM = Path(__file__).parents[2] / ".." / "shared" / "data" / "upstream"


@pytest.fixture(params=["directory", "s3"])
def objects(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    if request.param == "directory":
        yield DirectoryObjectStore(tmp_path)
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = aws.client(Settings(aws_region="us-east-1"), "s3")
        client.create_bucket(Bucket="archive")
        yield S3ObjectStore("archive", client)


@pytest.fixture
def archive(objects: ObjectStore) -> ObjectJobArchive:
    return ObjectJobArchive(objects)


def a_job(job_id: int = 42, cluster: str = "fritz", start: int = 1234567890) -> Job:
    return Job(
        job_id=job_id, cluster=cluster, user="u", start_time=start, state=JobState.COMPLETED, num_nodes=1,
        duration=600, statistics={"m": JobStatistics(Unit("W"), 1.0, 0.0, 2.0)},
    )  # fmt: skip


def some_data(samples: int = 3) -> JobData:
    series = Series("f0101", np.arange(samples, dtype=np.float64), SeriesStatistics(1, 0, 2))
    return {"m": {MetricScope.NODE: JobMetric(Unit("W"), 60, [series])}}


@pytest.mark.parametrize(
    ("cluster", "job_id", "start", "folder"),
    [
        ("emmy", 1403244, 1608923076, "emmy/1403/244/1608923076/"),
        ("fritz", 42, 1234567890, "fritz/0/042/1234567890/"),
        ("x", 999, 1, "x/0/999/1/"),
        ("x", 1000, 1, "x/1/000/1/"),
        ("x", 4294967296, 1, "x/4294967/296/1/"),
    ],
)
def test_where_a_job_lies(cluster: str, job_id: int, start: int, folder: str) -> None:
    assert JobIdentity(start, cluster, job_id).folder == folder


@pytest.mark.parametrize(
    ("cluster", "job_id", "start"), [("x", -1, 1), ("x", 1, 0), ("..", 1, 1), ("a/b", 1, 1), ("", 1, 1)]
)
def test_what_names_no_job(archive: ObjectJobArchive, cluster: str, job_id: int, start: int) -> None:
    with pytest.raises(InvalidInputError):
        archive.read_meta(cluster, job_id, start)
    with pytest.raises(InvalidInputError):
        archive.contains(a_job(job_id, cluster, start))


def test_a_job_comes_back(archive: ObjectJobArchive, objects: ObjectStore) -> None:
    job = a_job()
    assert not archive.contains(job)
    archive.write(job, some_data())
    assert archive.contains(job)
    assert archive.read_meta("fritz", 42, 1234567890) == job
    data = archive.read_data("fritz", 42, 1234567890)
    assert data["m"][MetricScope.NODE].series[0].data.tolist() == [0, 1, 2]
    assert [item.key for item in objects.list("fritz/")] == [
        "fritz/0/042/1234567890/data.json",
        "fritz/0/042/1234567890/meta.json",
    ]
    assert objects.get("version.txt")[0] == b"3\n"


def test_long_data_is_compressed_and_the_other_form_goes(
    archive: ObjectJobArchive, objects: ObjectStore
) -> None:
    for samples, name in ((3, "data.json"), (1000, "data.json.gz"), (3, "data.json")):
        archive.write(a_job(), some_data(samples))
        names = [item.key.rpartition("/")[2] for item in objects.list("fritz/")]
        assert names == [name, "meta.json"]
        metric = archive.read_data("fritz", 42, 1234567890)["m"][MetricScope.NODE]
        assert len(metric.series[0].data) == samples


def test_meta_is_written_last(archive: ObjectJobArchive, objects: ObjectStore) -> None:
    order: list[str] = []
    put = objects.put

    def failing(key: str, content: bytes, **conditions: object) -> str:
        order.append(key.rpartition("/")[2])
        if key.endswith("meta.json"):
            raise OSError("power cut")
        return put(key, content, **conditions)  # type: ignore[arg-type]

    objects.put = failing  # type: ignore[method-assign]
    with pytest.raises(OSError, match="power cut"):
        archive.write(a_job(), some_data())
    assert order == ["version.txt", "data.json", "meta.json"]
    assert not archive.contains(a_job())


def test_rewriting_meta_keeps_statistics(archive: ObjectJobArchive) -> None:
    job = a_job()
    assert not archive.rewrite_meta(job)
    archive.write(job, some_data())
    changed = a_job()
    changed.tags = (Tag("t", "n", "admin", 1),)
    changed.statistics = None
    assert archive.rewrite_meta(changed)
    read = archive.read_meta("fritz", 42, 1234567890)
    assert read.tags == (Tag("t", "n", "admin", 1),)
    assert read.statistics == job.statistics


def test_every_job_and_every_damage(archive: ObjectJobArchive, objects: ObjectStore) -> None:
    archive.write_cluster_document("fritz", b"{}")
    for number in range(3):
        archive.write(a_job(job_id=1000 + number), some_data())
    objects.put("fritz/1/001/1234567890/meta.json", b"{")
    objects.put("fritz/1/009/1234567890/meta.json", objects.get("fritz/1/002/1234567890/meta.json")[0])
    objects.put("fritz/1/abc/stray.txt", b"")
    objects.put("fritz/01/003/1234567890/meta.json", b"{}")
    found = list(archive.jobs())
    assert [item.job_id for item in found if isinstance(item, Job)] == [1000, 1002]
    errors = [str(item) for item in found if isinstance(item, Exception)]
    assert len(errors) == 2
    assert "fritz/1/001/1234567890/meta.json" in errors[0]
    assert "another job" in errors[1]


def test_a_cluster_is_a_folder_with_a_document(archive: ObjectJobArchive, objects: ObjectStore) -> None:
    archive.write_cluster_document("fritz", b'{"name":"fritz"}')
    objects.put("stray/notes.txt", b"")
    objects.put(".hidden/cluster.json", b"{}")
    assert archive.cluster_names() == ["fritz"]
    assert archive.read_cluster_document("fritz")[0] == b'{"name":"fritz"}'
    with pytest.raises(NotFoundError):
        archive.read_cluster_document("stray")


@pytest.mark.parametrize(
    ("version", "fine"), [(b"3", True), (b"3\n", True), (b"3\n\n", False), (b" 3", False), (b"2\n", False)]
)
def test_the_version(objects: ObjectStore, version: bytes, fine: bool) -> None:
    objects.put("version.txt", version)
    if fine:
        ObjectJobArchive(objects).open()
        return
    with pytest.raises(ConfigurationError, match="version"):
        ObjectJobArchive(objects).open()


def test_only_an_empty_place_becomes_an_archive(objects: ObjectStore) -> None:
    objects.put(".keep", b"")
    ObjectJobArchive(objects).open()
    assert objects.get("version.txt")[0] == b"3\n"
    objects.delete("version.txt")
    objects.put("holiday/pictures.zip", b"")
    with pytest.raises(ConfigurationError, match="holiday"):
        ObjectJobArchive(objects).open()


def test_data_that_is_gone(archive: ObjectJobArchive, objects: ObjectStore) -> None:
    archive.write(a_job(), some_data())
    version = archive.data_version(JobIdentity.of(a_job()))
    archive.write(a_job(), some_data(4))
    assert archive.data_version(JobIdentity.of(a_job())) != version
    objects.delete("fritz/0/042/1234567890/data.json")
    with pytest.raises(NotFoundError):
        archive.read_data("fritz", 42, 1234567890)
    objects.put("fritz/0/042/1234567890/data.json.gz", b"torn")
    with pytest.raises(InvalidInputError, match=r"fritz/0/042/1234567890/data\.json\.gz"):
        archive.read_data("fritz", 42, 1234567890)


# The reference's own archive

EMMY = [(1403244, 1608923076), (1404397, 1609300556)]


@pytest.fixture
def shipped() -> ObjectJobArchive:
    if not UPSTREAM.is_dir():
        pytest.skip("the reference's test data is not here")
    return ObjectJobArchive(DirectoryObjectStore(UPSTREAM / "archive"))


def test_the_shipped_archive(shipped: ObjectJobArchive) -> None:
    shipped.open()
    assert shipped.cluster_names() == ["alex", "emmy", "fritz"]
    jobs = [job for job in shipped.jobs() if isinstance(job, Job)]
    assert sorted((job.job_id, job.start_time) for job in jobs) == EMMY
    for job in jobs:
        assert (job.sub_cluster, job.user, job.project, job.partition) == (
            "haswell", "emmyUser6", "no project", "work",
        )  # fmt: skip
        assert (job.num_nodes, len(job.resources), job.walltime, job.tags) == (32, 32, 10, ())


@pytest.mark.parametrize(
    ("job_id", "start", "duration", "hosts", "samples", "nulls", "first", "statistics", "figures"),
    [
        (1403244, 1608923076, 86486, ("e0102", "e0951"), 1441, 4221, [4.01, 14.37, 16.29],
         (17.98, 4.01, 19.42), {"cpu_load": (18.4, 0, 23.58), "rapl_power": (228.07, 0, 258.56),
                                "mem_used": (27.84, 1.55, 37.5), "clock": (2599.39, 1380.32, 2634.46)}),
        (1404397, 1609300556, 86525, ("e0151", "e0908"), 1442, 4346, [0.27, 6.65, 14.35],
         (18.38, 0.27, 19.74), {"cpu_load": (18.39, 0, 27.41), "rapl_power": (227.32, 0, 256.22),
                                "mem_used": (27.77, 1.5, 37.43), "clock": (2597.8, 0, 2634.9)}),
    ],
)  # fmt: skip
def test_the_shipped_jobs(
    shipped: ObjectJobArchive,
    job_id: int,
    start: int,
    duration: int,
    hosts: tuple[str, str],
    samples: int,
    nulls: int,
    first: list[float],
    statistics: tuple[float, float, float],
    figures: dict[str, tuple[float, float, float]],
) -> None:
    job = shipped.read_meta("emmy", job_id, start)
    assert job.duration == duration
    assert (job.resources[0].hostname, job.resources[-1].hostname) == hosts
    assert job.statistics is not None
    for name, (avg, low, high) in figures.items():
        found = job.statistics[name]
        assert (found.avg, found.min, found.max) == (avg, low, high)
    data = shipped.read_data("emmy", job_id, start)
    assert sorted(data) == ["clock", "cpu_load", "flops_any", "flops_dp", "flops_sp", "ipc", "mem_bw",
                            "mem_used", "rapl_power"]  # fmt: skip
    for scopes in data.values():
        assert list(scopes) == [MetricScope.NODE]
        metric = scopes[MetricScope.NODE]
        assert metric.timestep == 60
        assert [len(series.data) for series in metric.series] == [samples] * 32
        assert sum(int(np.isnan(series.data).sum()) for series in metric.series) == nulls
    load = data["cpu_load"][MetricScope.NODE].series[0]
    assert load.data[:3].tolist() == first
    assert (load.statistics.avg, load.statistics.min, load.statistics.max) == statistics
    # Its series come without statistics; ours are made of the samples
    assert not math.isnan(data["ipc"][MetricScope.NODE].series[0].statistics.avg)


def test_a_copied_job_is_the_same_job(shipped: ObjectJobArchive, tmp_path: Path) -> None:
    target = ObjectJobArchive(DirectoryObjectStore(tmp_path))
    identity = JobIdentity(1608923076, "emmy", 1403244)
    target.copy(identity, shipped)
    assert target.read_meta("emmy", 1403244, 1608923076) == shipped.read_meta("emmy", 1403244, 1608923076)
    assert target.read_data_document(identity) == shipped.read_data_document(identity)
    assert (tmp_path / "emmy/1403/244/1608923076/data.json.gz").is_file()
