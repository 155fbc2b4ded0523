"""The archive's documents against the reference's own encodings. `spec/job-archive.md` 8 and 23."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.archive import documents
from clustercockpit.clusters.model import MetricScope, Unit
from clustercockpit.errors import InvalidInputError
from clustercockpit.jobs.model import Job, JobState, JobStatistics, MonitoringStatus, Resource, Sharing, Tag
from clustercockpit.metrics.model import JobData, JobMetric, Series, SeriesStatistics, StatisticsSeries

UPSTREAM = Path(__file__).parents[2] / ".." / "shared" / "data" / "upstream"
GIGABYTES = Unit("B", "G")


def one_series(**changes: object) -> JobData:
    series = Series(
        hostname="h<1",
        id="0",
        statistics=SeriesStatistics(avg=1.005, min=0.125, max=123456789.12),
        data=np.array([1.21951219512195, 123456789.12, math.nan, 0.004, 0.125, 0.375]),
    )
    for name, value in changes.items():
        setattr(series, name, value)
    return {"m<": {MetricScope.NODE: JobMetric(GIGABYTES, 60, [series])}}


def test_the_golden_data_document() -> None:
    assert documents.encode_data(one_series()) == (
        rb'{"m\u003c":{"node":{"unit":{"base":"B","prefix":"G"},"series":[{"hostname":"h\u003c1","id":"0",'
        rb'"statistics":{"min":0.12,"avg":1.00,"max":123456789.12},'
        rb'"data":[1.22,123456792.00,null,0.00,0.12,0.38]}],"timestep":60}}}' + b"\n"
    )


def test_a_statistics_series() -> None:
    data = one_series()
    data["m<"][MetricScope.NODE].statistics_series = StatisticsSeries(
        median=np.array([12.0]),
        min=np.array([12.0]),
        max=np.array([14.0]),
        percentiles={90: np.array([13.5]), 10: np.array([math.nan])},
    )
    text = documents.encode_data(data)
    assert (
        b'"node":{"statisticsSeries":{"percentiles":{"10":[null],"90":[13.50]},"mean":null,"median":[12.00],'
        b'"min":[12.00],"max":[14.00]},"unit":' in text
    )
    read = documents.decode_data(text)["m<"][MetricScope.NODE].statistics_series
    assert read is not None
    assert read.mean is None
    assert read.percentiles is not None
    assert read.percentiles[90].tolist() == [13.5]


def test_what_has_no_number_is_null_in_data_and_zero_in_statistics() -> None:
    data = one_series(
        data=np.array([math.inf, -math.inf, 1e39]),
        statistics=SeriesStatistics(math.nan, math.inf, -math.inf),
        id=None,
    )
    text = documents.encode_data(data)
    assert b'"statistics":{"min":0.00,"avg":0.00,"max":0.00},"data":[null,null,null]' in text
    assert b'"id"' not in text


def test_names_are_escaped() -> None:
    text = documents.encode_data(one_series(hostname='a"b\n&', id='"]}'))
    series = documents.decode_data(text)["m<"][MetricScope.NODE].series[0]
    assert (series.hostname, series.id) == ('a"b\n&', '"]}')


def test_an_empty_document() -> None:
    assert documents.encode_data({}) == b"{}\n"
    assert documents.decode_data(b"{}\n") == {}
    assert documents.decode_data(b"null\n") == {}


def test_reading_is_lenient_where_the_reference_is() -> None:
    text = b"""{"M": {"node": {"UNIT": {"Base": "W", "x": 1}, "Timestep": 30, "extra": {},
        "series": [{"HostName": "h", "DATA": [1, null, 2.5]}]}, "rack": {"series": []}},
        "filesystems": [{"name": "home"}], "gone": null} trailing"""
    data = documents.decode_data(text)
    assert list(data) == ["M"]
    metric = data["M"][MetricScope.NODE]
    assert (metric.unit, metric.timestep) == (Unit("W"), 30)
    series = metric.series[0]
    assert series.hostname == "h"
    assert series.id is None
    np.testing.assert_array_equal(series.data, [1, math.nan, 2.5])
    assert series.statistics == SeriesStatistics(avg=1.75, min=1, max=2.5)


def test_a_series_without_samples_has_no_statistics() -> None:
    text = documents.encode_data(one_series(data=np.array([math.nan, math.nan])))
    statistics = documents.decode_data(text)["m<"][MetricScope.NODE].series[0].statistics
    assert all(math.isnan(value) for value in (statistics.avg, statistics.min, statistics.max))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"", "JSON"),
        (b"[1]", "object"),
        (b'{"m":{"node":{"timestep":60.0}}}', r"m\.node\.timestep"),
        (b'{"m":{"node":{"timestep":-1}}}', r"m\.node\.timestep"),
        (b'{"m":{"node":{"unit":"GB"}}}', "unit"),
        (b'{"m":{"node":{"unit":{"base":1}}}}', "base"),
        (b'{"m":{"node":{"series":{}}}}', "series"),
        (b'{"m":{"node":{"series":[7]}}}', r"series\[0\]"),
        (b'{"m":{"node":{"series":[{"hostname":7}]}}}', "hostname"),
        (b'{"m":{"node":{"series":[{"data":["1"]}]}}}', "data"),
        (b'{"m":{"node":{"series":[{"data":[true]}]}}}', "data"),
        (b'{"m":{"node":{"series":[{"data":7}]}}}', "data"),
        (b'{"m":{"node":{"series":[{"statistics":{"avg":"1"}}]}}}', "statistics"),
        (b'{"m":{"node":{"statisticsSeries":{"percentiles":{"x":[]}}}}}', "percentiles"),
        (b'{"m":{"node":{"series":[{"data":[NaN]}]}}} x', "JSON"),
    ],
)
def test_damage_is_named(text: bytes, place: str) -> None:
    with pytest.raises(InvalidInputError, match=place):
        documents.decode_data(text)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=6),
        st.dictionaries(
            st.sampled_from(list(MetricScope)),
            st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=6), max_size=3),
            min_size=1,
            max_size=2,
        ),
        max_size=3,
    )
)
def test_what_is_written_reads_back_to_two_decimals(
    content: dict[str, dict[MetricScope, list[list[float]]]],
) -> None:
    data: JobData = {
        name: {
            scope: JobMetric(
                GIGABYTES,
                60,
                [Series("h", np.array(values), SeriesStatistics(1, 0, 2)) for values in series],
            )
            for scope, series in scopes.items()
        }
        for name, scopes in content.items()
    }
    read = documents.decode_data(documents.encode_data(data))
    assert read.keys() == data.keys()
    for name, scopes in data.items():
        assert read[name].keys() == scopes.keys()
        for scope, metric in scopes.items():
            for before, after in zip(metric.series, read[name][scope].series, strict=True):
                # float32 keeps 24 bits, printing two decimals
                tolerance = 0.005 + np.abs(np.nan_to_num(before.data)) * 2**-23
                assert (np.isnan(before.data) == np.isnan(after.data)).all()
                assert (np.abs(np.nan_to_num(before.data - after.data)) <= tolerance).all()
    # A second pass changes nothing
    assert documents.encode_data(read) == documents.encode_data(
        documents.decode_data(documents.encode_data(read))
    )


def test_the_golden_meta_document() -> None:
    job = Job(job_id=1, cluster="c", user="", start_time=5)
    text = documents.encode_meta(replace(job, monitoring_status=MonitoringStatus.DISABLED))
    # Upstream's example has no state and no sharing; ours always have
    assert text == (
        b'{"cluster":"c","subCluster":"","project":"","user":"","shared":"none","jobState":"running",'
        b'"resources":[],"energyFootprint":null,"footprint":null,"metaData":null,'
        b'"concurrentJobs":{"items":null,"count":0},"energy":0,"jobId":1,"duration":0,"numNodes":0,'
        b'"statistics":null,"startTime":5}\n'
    )


def full_job() -> Job:
    return Job(
        job_id=123,
        cluster="fritz",
        user="u<1>",
        start_time=1700000000,
        id=7,
        sub_cluster="main",
        project="p",
        partition="multi",
        array_job_id=5,
        state=JobState.OUT_OF_MEMORY,
        shared=Sharing.SINGLE_USER,
        monitoring_status=MonitoringStatus.ARCHIVED,
        submit_time=1699999999,
        duration=100,
        walltime=86400,
        requested_memory=128000,
        num_nodes=2,
        num_hwthreads=144,
        num_acc=1,
        smt=1,
        resources=(
            Resource("f0101", hwthreads=(0, 1), accelerators=("00000000:0E:00.0",), configuration="x"),
            Resource("f0102"),
        ),
        tags=(Tag("app", "vasp", "global", 3), Tag("mine", "x", "u<1>", 4)),
        meta_data={"jobName": "a\u2028b", "jobScript": "#!/bin/sh\n"},
        footprint={"mem_used_max": 3.25, "cpu_load_avg": 1.0},
        energy_footprint={"cpu_power": 0.25},
        energy=0.25,
        statistics={"cpu_load": JobStatistics(Unit(), avg=1.5384615384615, min=0.0, max=3.0)},
    )


def test_a_job_reads_back_as_written() -> None:
    assert documents.decode_meta(documents.encode_meta(full_job())) == full_job()


def test_the_order_of_members() -> None:
    text = documents.encode_meta(full_job())
    names = [
        "cluster", "subCluster", "partition", "project", "user", "shared", "jobState", "tags", "resources",
        "energyFootprint", "footprint", "metaData", "concurrentJobs", "energy", "arrayJobId", "walltime",
        "requestedMemory", "jobId", "duration", "smt", "monitoringStatus", "numAcc", "numHwthreads",
        "numNodes", "statistics",
    ]  # fmt: skip
    places = [text.index(f'"{name}":'.encode()) for name in names]
    assert places == sorted(places)
    assert text.endswith(b'"id":7,"submitTime":1699999999,"startTime":1700000000}\n')
    assert b'"user":"u\\u003c1\\u003e"' in text
    assert b'"footprint":{"cpu_load_avg":1,"mem_used_max":3.25}' in text
    assert b'{"hostname":"f0101","configuration":"x","hwthreads":[0,1],"accelerators":' in text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"", "EOF"),
        (b"{}", "startTime 0"),
        (b'{"jobId":1,"startTime":1,"cluster":"c"}', "jobState"),
        (b'{"jobState":"stopped","jobId":1,"startTime":1,"cluster":"c"}', "stopped"),
        (b'{"jobState":"completed","jobId":-1,"startTime":1,"cluster":"c"}', "jobId -1"),
        (b'{"jobState":"completed","jobId":1,"startTime":0,"cluster":"c"}', "startTime 0"),
        (b'{"jobState":"completed","jobId":1,"startTime":1}', "cluster"),
        (b'{"jobState":"completed","duration":10.0}', "duration"),
        (b'{"jobState":"completed","numNodes":4294967296}', "numNodes"),
        (b'{"jobState":"completed","shared":"maybe"}', "maybe"),
        (b'{"jobState":"completed","statistics":{"m":{"avg":"1"}}}', r"statistics\.m\.avg"),
    ],
)
def test_a_damaged_meta_document_is_named(text: bytes, place: str) -> None:
    with pytest.raises(InvalidInputError, match=place):
        documents.decode_meta(text)


def test_a_tag_of_old_is_global() -> None:
    text = b'{"jobState":"completed","jobId":1,"startTime":1,"cluster":"c","tags":[{"type":"a","name":"b"}]}'
    assert documents.decode_meta(text).tags == (Tag("a", "b", "global"),)


def test_compression_is_stable_and_checked() -> None:
    packed = documents.compressed(b"x" * 5000)
    assert packed == documents.compressed(b"x" * 5000)
    assert gzip.decompress(packed) == b"x" * 5000
    assert documents.decompressed(packed) == b"x" * 5000
    assert documents.decompressed(packed + packed) == b"x" * 10000
    for damaged in (packed[:-3], packed[:12], b"plain", packed[:-6] + b"abcdef"):
        with pytest.raises(InvalidInputError):
            documents.decompressed(damaged)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 1000)
    assert documents.decompressed(documents.compressed(b"x" * 1000)) == b"x" * 1000
    with pytest.raises(InvalidInputError, match="larger"):
        documents.decompressed(documents.compressed(b"x" * 1001))


upstream = pytest.mark.skipif(not UPSTREAM.is_dir(), reason="the reference's test data is not here")


@upstream
@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("archive/emmy/1403/244/1608923076/data.json.gz", 2598032),
        ("archive/emmy/1404/397/1609300556/data.json.gz", 2598052),
        ("importer/data-fritzMinimal.json", 58103),
        ("importer/data-fritzError.json", 64666),
    ],
)
def test_shipped_documents_have_the_reference_s_size(path: str, size: int) -> None:
    content = (UPSTREAM / path).read_bytes()
    text = documents.decompressed(content) if path.endswith(".gz") else content
    assert len(documents.encode_data(documents.decode_data(text))) == size
