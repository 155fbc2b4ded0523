"""What a person sees by default: the site's choices, and over them the person's own.

Keys and types: `spec/configuration-and-auth.md` 2.12 and 11.4. Anything else is refused at the door, and a
stored value that cannot be read is left out rather than breaking every page of its owner.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from clustercockpit.errors import InvalidInputError
from clustercockpit.users.ports import UserStore

log = logging.getLogger(__name__)

MAX_VALUE_BYTES = 8 * 1024

# Set by the installation, never by a person.
READ_ONLY = "jobList_hideShortRunningJobs"

_Test = Callable[[Any], bool]


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(_texts(entry) and len(entry) == 2 for entry in value)


# Key: type in words, test, how many of `:cluster`, `:cluster:subcluster` may follow (at least, at most).
_KEYS: dict[str, tuple[str, _Test, int, int]] = {
    "jobList_usePaging": ("true or false", _boolean, 0, 0),
    "jobList_showFootprint": ("true or false", _boolean, 0, 1),
    "jobList_jobsPerPage": ("a whole number from 1", _count, 0, 0),
    "nodeList_usePaging": ("true or false", _boolean, 0, 0),
    "nodeList_nodesPerPage": ("a whole number from 1", _count, 0, 0),
    "nodeList_selectedMetrics": ("a list of texts", _texts, 0, 2),
    "nodeOverview_selectedMetric": ("a text", _text, 0, 2),
    "jobView_showPolarPlot": ("true or false", _boolean, 0, 0),
    "jobView_showFootprint": ("true or false", _boolean, 0, 0),
    "jobView_showRoofline": ("true or false", _boolean, 0, 0),
    "jobView_showStatTable": ("true or false", _boolean, 0, 0),
    "metricConfig_jobListMetrics": ("a list of texts", _texts, 0, 2),
    "metricConfig_jobViewPlotMetrics": ("a list of texts", _texts, 0, 2),
    "metricConfig_jobViewTableMetrics": ("a list of texts", _texts, 0, 2),
    "plotConfiguration_colorBackground": ("true or false", _boolean, 0, 0),
    "plotConfiguration_colorblindMode": ("true or false", _boolean, 0, 0),
    "plotConfiguration_plotsPerRow": ("a whole number from 1", _count, 0, 0),
    "plotConfiguration_lineWidth": ("a whole number from 1", _count, 0, 0),
    "plotConfiguration_colorScheme": ("a list of texts", _texts, 0, 0),
    "userView_histogramMetrics": ("a list of texts", _texts, 0, 1),
    "statusView_selectedHistograms": ("a list of texts", _texts, 0, 1),
    "analysisView_histogramMetrics": ("a list of texts", _texts, 0, 0),
    "analysisView_scatterPlotMetrics": ("a list of pairs of texts", _pairs, 0, 0),
    "analysisView_selectedTopEntity": ("a text", _text, 1, 1),
    "analysisView_selectedTopCategory": ("a text", _text, 1, 1),
}
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def valid_setting(key: str, value: str) -> Any:
    """The value of a setting. InvalidInputError for an unknown key, no JSON, the wrong type, or too much."""
    name, *suffixes = key.split(":")
    if name == READ_ONLY:
        raise InvalidInputError(f"{READ_ONLY} is set by the installation (main.short-running-jobs-duration)")
    if name not in _KEYS:
        raise InvalidInputError(f"unknown setting {key[:80]!r}")
    words, test, least, most = _KEYS[name]
    if not least <= len(suffixes) <= most or not all(_SUFFIX.fullmatch(suffix) for suffix in suffixes):
        raise InvalidInputError(f"setting {key[:80]!r}: {name} takes {least} to {most} names after a colon")
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise InvalidInputError(f"setting {key}: the value must not be longer than {MAX_VALUE_BYTES} bytes")
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise InvalidInputError(f"setting {key}: the value is not JSON") from None
    if not test(parsed):
        raise InvalidInputError(f"setting {key} must be {words}")
    return parsed


class UiSettings:
    """`defaults` gives the site's map of full keys to values; `known_cluster(cluster, subcluster or None)`
    says whether there is such a thing."""

    def __init__(
        self,
        store: UserStore,
        defaults: Callable[[], Mapping[str, Any]],
        known_cluster: Callable[[str, str | None], bool],
    ) -> None:
        self._store = store
        self._defaults = defaults
        self._known_cluster = known_cluster

    def of(self, username: str) -> dict[str, Any]:
        """All settings that hold for the user, by full key."""
        defaults = dict(self._defaults())
        merged = dict(defaults)
        for key, value in self._store.settings(username).items():
            try:
                merged[key] = valid_setting(key, value)
            except InvalidInputError as error:
                log.warning("user %s: stored setting left out: %s", username, error)
        if READ_ONLY in defaults:
            merged[READ_ONLY] = defaults[READ_ONLY]
        return merged

    def set(self, username: str, key: str, value: str) -> None:
        """InvalidInputError for what is no setting, or names a cluster there is not."""
        valid_setting(key, value)
        _, *suffixes = key.split(":")
        if suffixes and not self._known_cluster(suffixes[0], suffixes[1] if len(suffixes) > 1 else None):
            raise InvalidInputError(f"setting {key}: no such cluster or subcluster")
        self._store.set_setting(username, key, value)
