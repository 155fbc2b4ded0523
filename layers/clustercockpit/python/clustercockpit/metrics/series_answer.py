"""A job's frame on its way to the browser."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence

import numpy as np
from starlette.responses import Response

from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import ClusterCockpitError, TooLargeError
from clustercockpit.jobs.model import Job
from clustercockpit.metrics import frame
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameStatistics, Values
from clustercockpit.metrics.live import Window
from clustercockpit.metrics.ports import JobMetricSource
from clustercockpit.metrics.statistics_series import statistics_series

# What fits through a function's answer: 6 MB, base64 takes a third more
MAX_ANSWER_BYTES = 4_500_000
_STATISTICS_FROM = 3  # series
# Samples may be this late (s), and change a bucket that was sent already
_LATENESS = 120


def prepare(answer: Frame, resolution: float, statistics: str) -> None:
    """Add what the next poll needs and, with `statistics` "1" or "only", the statistics series; "only" leaves
    the lines out. Values become single precision."""
    answer.resolution = resolution
    answer.next = next_since(answer, resolution)
    for metric in answer.metrics:
        if statistics in ("1", "only") and len(metric.series) >= _STATISTICS_FROM:
            metric.statistics_series = over_series(metric)
            if statistics == "only":
                metric.series = []
        shorten(metric)


def next_since(answer: Frame, resolution: float) -> float:
    """From when on the next answer can hold anything new: a bucket, or the lateness of samples, before the
    newest value."""
    newest = []
    for metric in answer.metrics:
        ends = [
            series.grid.start + (len(series.mean) - 1) * series.grid.step
            for series in metric.series
            if len(series.mean)
        ]
        if ends:
            newest.append(max(ends) - max(2 * max(resolution, metric.native_timestep), _LATENESS))
    return max(answer.start, min(newest, default=answer.start))


def over_series(metric: FrameMetric) -> FrameStatistics:
    """Extremes and median per point, the series laid on the first one's steps (off by less than a half)."""
    step = metric.series[0].grid.step
    start = min(series.grid.start for series in metric.series)
    rows = []
    for series in metric.series:
        offset = max(0, round((series.grid.start - start) / step))
        rows.append(np.concatenate([np.full(offset, np.nan), series.mean.astype(np.float64)]))
    result = statistics_series(rows)
    return FrameStatistics(FrameGrid(start, step), result.min, result.median, result.max)


def shorten(metric: FrameMetric) -> None:
    """Single precision, which is more than a screen shows, for half the bytes."""
    for series in metric.series:
        series.mean = _single(series.mean)
        series.min = None if series.min is None else _single(series.min)
        series.max = None if series.max is None else _single(series.max)
    statistics = metric.statistics_series
    if statistics is not None:
        statistics.min, statistics.median, statistics.max = map(
            _single, (statistics.min, statistics.median, statistics.max)
        )


def _single(values: Values) -> Values:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def of_row(
    source: JobMetricSource, job: Job, metrics: Sequence[str], scope: MetricScope, points: int, now: float
) -> Frame:
    """Small curves of a job, or a frame that says why there are none: one job never empties a list."""
    window = Window.of(job, None, None, now)
    width = math.ceil((window.end - window.start) / points)
    try:
        answer = source.frame(job, metrics, [scope], width)
    except ClusterCockpitError as error:
        return Frame(now, window.start, window.end, errors=[str(error)])
    prepare(answer, width, "only")
    return answer


def frame_response(answer: Frame, accept_encoding: str) -> Response:
    """The frame, compressed where the caller takes it. TooLargeError beyond what a function can answer."""
    return _response(frame.encode(answer), frame.CONTENT_TYPE, accept_encoding)


def batch_response(answers: Sequence[tuple[int, Frame]], accept_encoding: str) -> Response:
    """Frames of several jobs, as `frame_response` answers one."""
    return _response(frame.encode_batch(answers), frame.BATCH_CONTENT_TYPE, accept_encoding)


def _response(content: bytes, media_type: str, accept_encoding: str) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if accepts_gzip(accept_encoding):
        content = gzip.compress(content, compresslevel=5)
        headers["Content-Encoding"] = "gzip"
    if len(content) > MAX_ANSWER_BYTES:
        raise TooLargeError(
            f"the series are {len(content) / 1e6:.1f} MB, more than {MAX_ANSWER_BYTES / 1e6:.1f}: ask for"
            " fewer metrics, points, or statistics=only"
        )
    return Response(content, media_type=media_type, headers=headers)


def accepts_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "").removeprefix("q=").rstrip("0.") != "" or not quality
    return False
