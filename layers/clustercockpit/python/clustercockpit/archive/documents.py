"""The two documents of an archived job, byte for byte as the reference writes them.

`spec/job-archive.md` chapter 8. `meta.json` describes the job and its statistics over the whole run;
`data.json` holds the series: metric → scope → series. Reading is lenient (names ignoring case, unknown
members skipped, absent ones zero), writing exact (member order, escapes, two decimals, one line feed).
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import numpy as np
import orjson

from clustercockpit import reference_json
from clustercockpit.clusters.documents import unit_document
from clustercockpit.clusters.model import MetricScope, Unit
from clustercockpit.errors import InvalidInputError
from clustercockpit.jobs.documents import JOB, job_document, job_of
from clustercockpit.jobs.model import Job
from clustercockpit.metrics.model import (
    JobData,
    JobMetric,
    Samples,
    Series,
    SeriesStatistics,
    StatisticsSeries,
)
from clustercockpit.metrics.statistics_series import statistics_of

# A data document longer than this many bytes is stored compressed.
PLAIN_LIMIT: Final = 2000
# Metadata key under which an archived job's remarks are kept
REMARKS_KEY: Final = "remarks"
Value = TypeVar("Value")
_SCOPES: Final = {scope.value: scope for scope in MetricScope}
# Decompressed size at which a data document is refused: ~100 M samples, and a bomb.
MAX_DOCUMENT_BYTES: Final = 1 << 30


# meta.json


def decode_meta(document: bytes) -> Job:
    """The job of a meta document, with its statistics; `id` and `monitoring_status` as it was written.

    Raises InvalidInputError, naming the member, where the document is damaged.
    """
    meta = reference_json.decode(document, JOB, strict=False)
    job = job_of(meta)
    if job.job_id < 0 or job.start_time <= 0 or not job.cluster:
        raise InvalidInputError(
            f"jobId {job.job_id}, startTime {job.start_time}, cluster {job.cluster!r}: not those of a job"
        )
    if not meta.get("jobState"):
        raise InvalidInputError("jobState is missing")
    return job


def encode_meta(job: Job) -> bytes:
    """The meta document. The job's remarks stand in its metadata, where every reader takes any key: a member
    that the reference does not know would make its strict import refuse the document."""
    document = job_document(job)
    if job.remarks:
        meta_data = {REMARKS_KEY: "; ".join(job.remarks), **(job.meta_data or {})}
        document["metaData"] = {key: meta_data[key] for key in sorted(meta_data)}
    return reference_json.encode(document)


# data.json


def encode_data(data: JobData) -> bytes:
    """The data document. Samples pass through float32 and keep two decimals, as in the reference; NaN and
    what is not finite is `null`."""
    parts = [
        _text(metric)
        + b":{"
        + b",".join(
            b'"%b":%b' % (scope.value.encode(), encode_metric(job_metric))
            for scope, job_metric in sorted(scopes.items(), key=lambda item: item[0].value)
        )
        + b"}"
        for metric, scopes in _sorted(data)
    ]
    return b"{" + b",".join(parts) + b"}\n"


def _sorted(items: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """In byte order of the names, as the reference writes maps."""
    return sorted(items.items(), key=lambda item: item[0].encode("utf-8", "surrogatepass"))


def encode_metric(metric: JobMetric) -> bytes:
    """One metric at one scope as the document has it; REST answers carry the same object."""
    statistics = metric.statistics_series
    return b'{%b"unit":%b,"series":[%b],"timestep":%d}' % (
        b"" if statistics is None else b'"statisticsSeries":%b,' % _statistics_series(statistics),
        reference_json.encode(unit_document(metric.unit)).rstrip(b"\n"),
        b",".join(_series(series) for series in metric.series),
        metric.timestep,
    )


def _series(series: Series) -> bytes:
    statistics = series.statistics
    with np.errstate(over="ignore"):
        samples = series.data.astype(np.float32).astype(np.float64)
    return b'{"hostname":%b,%b"statistics":{"min":%.2f,"avg":%.2f,"max":%.2f},"data":%b}' % (
        _text(series.hostname),
        b'"id":%b,' % _text(series.id) if series.id else b"",
        _finite(statistics.min),
        _finite(statistics.avg),
        _finite(statistics.max),
        _two_decimals(samples),
    )


def _statistics_series(statistics: StatisticsSeries) -> bytes:
    percentiles = statistics.percentiles
    members = [
        b'"percentiles":{%b}'
        % b",".join(
            b'"%d":%b' % (percent, _two_decimals(values))
            for percent, values in sorted(percentiles.items(), key=lambda item: str(item[0]))
        )
        if percentiles
        else b"",
        b'"mean":%b' % (b"null" if statistics.mean is None else _two_decimals(statistics.mean)),
        b'"median":%b' % _two_decimals(statistics.median),
        b'"min":%b' % _two_decimals(statistics.min),
        b'"max":%b' % _two_decimals(statistics.max),
    ]
    return b"{%b}" % b",".join(member for member in members if member)


def _two_decimals(values: Samples) -> bytes:
    if not len(values):
        return b"[]"
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, np.nan)
    # One format for all values: a fifth of the time of one each
    text = ("%.2f," * len(values))[:-1] % tuple(values.tolist())
    return b"[%b]" % text.replace("nan", "null").encode()


def _text(text: str) -> bytes:
    return reference_json.encode(reference_json.clean_text(text)).rstrip(b"\n")


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def decode_data(document: bytes) -> JobData:
    """The series of a data document.

    Metrics and scopes that cannot be series (the schema's `filesystems`, unknown scopes) are left out. Series
    without statistics get those of their samples. Raises InvalidInputError, naming the metric, where the
    document is damaged.
    """
    try:
        root = orjson.loads(document)
    except orjson.JSONDecodeError:
        root = _first_value(document)
    if root is None:
        return {}
    if not isinstance(root, dict):
        raise InvalidInputError("data document: must be an object")
    data: JobData = {}
    for name, scopes in root.items():
        if not isinstance(scopes, dict):
            continue
        found = {
            _SCOPES[scope]: _read_metric(value, f"{name}.{scope}")
            for scope, value in scopes.items()
            if scope in _SCOPES and isinstance(value, dict)
        }
        if found:
            data[name] = found
    return data


def _first_value(document: bytes) -> Any:
    """As the reference, read the first JSON value only. orjson refuses what follows it."""
    try:
        value, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(document.decode().lstrip(" \t\r\n"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"data document: no valid JSON: {error}") from None
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _member(members: Mapping[str, Any], name: str) -> Any:
    """A member by its name, or else by its name ignoring case, as the reference finds it."""
    if name in members:
        return members[name]
    return next((value for key, value in members.items() if key.lower() == name.lower()), None)


def _present(value: Any, zero: Any) -> Any:
    return zero if value is None else value


def _read_metric(members: Mapping[str, Any], where: str) -> JobMetric:
    timestep = _present(_member(members, "timestep"), 0)
    if isinstance(timestep, bool) or not isinstance(timestep, int) or timestep < 0:
        raise InvalidInputError(f"data document: {where}.timestep must be a whole number of seconds")
    unit = _present(_member(members, "unit"), {})
    if not isinstance(unit, dict):
        raise InvalidInputError(f"data document: {where}.unit must be an object")
    series = _present(_member(members, "series"), [])
    if not isinstance(series, list):
        raise InvalidInputError(f"data document: {where}.series must be an array")
    statistics = _member(members, "statisticsSeries")
    return JobMetric(
        unit=Unit(
            _string(_member(unit, "base"), f"{where}.unit.base") or "",
            _string(_member(unit, "prefix"), f"{where}.unit.prefix") or "",
        ),
        timestep=timestep,
        series=[_read_series(item, f"{where}.series[{index}]") for index, item in enumerate(series)],
        statistics_series=None if statistics is None else _read_statistics_series(statistics, where),
    )


def _read_series(members: Any, where: str) -> Series:
    if not isinstance(members, dict):
        raise InvalidInputError(f"data document: {where} must be an object")
    data = _samples(_member(members, "data"), f"{where}.data")
    statistics = _member(members, "statistics")
    return Series(
        hostname=_string(_member(members, "hostname"), f"{where}.hostname") or "",
        id=_string(_member(members, "id"), f"{where}.id") or None,
        data=data,
        statistics=_read_statistics(statistics, data, f"{where}.statistics"),
    )


def _read_statistics(members: Any, data: Samples, where: str) -> SeriesStatistics:
    if members is None:
        return statistics_of(data)
    if not isinstance(members, dict):
        raise InvalidInputError(f"data document: {where} must be an object")
    figures = [_present(_member(members, name), 0) for name in ("avg", "min", "max")]
    if any(isinstance(figure, bool) or not isinstance(figure, int | float) for figure in figures):
        raise InvalidInputError(f"data document: {where} must hold numbers")
    if np.isnan(data).all():
        # No sample: the zeros that stand there mean nothing
        return SeriesStatistics(math.nan, math.nan, math.nan)
    return SeriesStatistics(*(float(figure) for figure in figures))


def _read_statistics_series(members: Any, where: str) -> StatisticsSeries:
    where = f"{where}.statisticsSeries"
    if not isinstance(members, dict):
        raise InvalidInputError(f"data document: {where} must be an object")
    mean = _member(members, "mean")
    percentiles = _present(_member(members, "percentiles"), {})
    if not isinstance(percentiles, dict) or not all(name.isdecimal() for name in percentiles):
        raise InvalidInputError(f"data document: {where}.percentiles must be an object of percentages")
    return StatisticsSeries(
        min=_samples(_member(members, "min"), f"{where}.min"),
        median=_samples(_member(members, "median"), f"{where}.median"),
        max=_samples(_member(members, "max"), f"{where}.max"),
        mean=None if not mean else _samples(mean, f"{where}.mean"),
        percentiles={
            int(name): _samples(values, f"{where}.percentiles.{name}") for name, values in percentiles.items()
        }
        or None,
    )


def _samples(values: Any, where: str) -> Samples:
    if values is None:
        values = []
    if not isinstance(values, list):
        raise InvalidInputError(f"data document: {where} must be an array")
    # Strings and booleans would turn into numbers silently
    if not {type(value) for value in values} <= {float, int, type(None)}:
        raise InvalidInputError(f"data document: {where} must hold numbers and null")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise InvalidInputError(f"data document: {where} holds a number that is too large") from None


def _string(value: Any, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"data document: {where} must be a string")
    return value


# Stored form


def compressed(document: bytes) -> bytes:
    """gzip as the archive stores it: no time stamp, so that equal documents are equal objects."""
    return gzip.compress(document, compresslevel=6, mtime=0)


def decompressed(content: bytes) -> bytes:
    """The document in a gzip stream. InvalidInputError if damaged, torn, or unreasonably large."""
    document = bytearray()
    rest = content
    try:
        while rest:
            inflater = zlib.decompressobj(wbits=31)
            document += inflater.decompress(rest, MAX_DOCUMENT_BYTES - len(document) + 1)
            if len(document) > MAX_DOCUMENT_BYTES:
                raise InvalidInputError("data document: larger than 1 GiB when decompressed")
            if not inflater.eof:
                raise InvalidInputError("data document: the compressed file ends too early")
            rest = inflater.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise InvalidInputError(f"data document: damaged compression: {error}") from None
    return bytes(document)
