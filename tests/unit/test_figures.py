"""Figures that alarms are on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from clustercockpit.index import builder
from clustercockpit.index.builder import BuildReport
from clustercockpit.site import Site


def _site(report: BuildReport) -> Site:
    return cast("Site", SimpleNamespace(index_builder=SimpleNamespace(run=lambda: report)))


def test_a_build_tells_how_far_behind_the_index_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builder.time, "time", lambda: 1_000_000 * 60 + 130.0)
    builder.run_measured(_site(BuildReport(version=3, watermark=999_999)), "index-builder")
    line: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    assert line["IndexWatermarkAge"] == 130
    (described,) = line["_aws"]["CloudWatchMetrics"]
    assert (described["Namespace"], described["Dimensions"]) == ("ClusterCockpit", [["FunctionName"]])
    assert line["FunctionName"] == "index-builder"


def test_a_builder_that_another_overtook_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    builder.run_measured(_site(BuildReport(version=-1, watermark=-1, lost=True)), "index-builder")
    assert capsys.readouterr().out == ""
