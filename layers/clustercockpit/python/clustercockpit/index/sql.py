"""Filters and orders as SQL over the index's columns.

Text of the SQL comes from this file only: names are looked up in tables of known columns, every value is a
bound parameter. `index.matching` is the same in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clustercockpit.access.model import JobVisibility
from clustercockpit.errors import InvalidInputError
from clustercockpit.index.matching import INTERACTIVE, is_given, like_pattern, number_in
from clustercockpit.index.model import Direction, JobFilter, JobOrder, Range, TextMatch

ELAPSED: Final = "CASE WHEN state = 'running' THEN greatest(0, $now - start_time) ELSE duration END"
"""Seconds a job has run; `$now` is bound by `Predicate`."""

ORDER_COLUMNS: Final[Mapping[str, str]] = {
    **{
        name: name
        for name in (
            "id",
            "job_id",
            "cluster",
            "sub_cluster",
            "partition",
            "user",
            "project",
            "array_job_id",
            "state",
            "shared",
            "monitoring_status",
            "submit_time",
            "start_time",
            "walltime",
            "num_nodes",
            "num_hwthreads",
            "num_acc",
            "smt",
            "energy",
        )
    },
    "user": '"user"',
    "duration": ELAPSED,
}
"""Field of the Job model → expression to order by."""

_NEVER: Final = "false"


class Predicate:
    """A conjunction under construction, with its parameters (`$p0`, `$p1`, … and `$now`)."""

    def __init__(
        self, now: int, footprints: Mapping[str, int], running: Mapping[str, int] | None = None
    ) -> None:
        """`footprints` maps a footprint key to the number of its column, `running` to that of the column
        with running jobs' newest values, if the relation has such."""
        self._footprints = footprints
        self._running = running or {}
        self._conditions: list[str] = []
        self._parameters: dict[str, Any] = {"now": now}

    @property
    def sql(self) -> str:
        return " AND ".join(f"({condition})" for condition in self._conditions) or "true"

    def bind(self, value: Any) -> str:
        name = f"p{len(self._parameters)}"
        self._parameters[name] = value
        return f"${name}"

    def parameters(self, statement: str) -> dict[str, Any]:
        """The values for a statement built from this; DuckDB refuses those that it does not name."""
        return {
            name: value for name, value in self._parameters.items() if name != "now" or "$now" in statement
        }

    def require(self, condition: str) -> None:
        self._conditions.append(condition)

    def restrict(self, visibility: JobVisibility) -> None:
        """Only what the caller may see."""
        if visibility.everything:
            return
        own = f'"user" = {self.bind(visibility.username)}'
        if visibility.projects:
            self.require(f"{own} OR {self._one_of('project', sorted(visibility.projects))}")
        else:
            self.require(own)

    def add(self, wanted: JobFilter) -> None:
        """Require all conditions of one filter."""
        if wanted.ids is not None:
            self.require(f"id IN (SELECT unnest({self.bind(list(wanted.ids))}::BIGINT[]))")
        if wanted.array_job_id is not None:
            self.require(f"array_job_id = {self.bind(wanted.array_job_id)}")
        if wanted.states is not None:
            self.require(self._one_of("state", [state.value for state in wanted.states]))
        if wanted.shared is not None:
            self.require(f"shared = {self.bind(wanted.shared.value)}")
        if wanted.tags is not None:
            self.require(f"list_has_any(tags, {self.bind(list(wanted.tags))}::BIGINT[])")
        if wanted.only_tags is not None:
            self.require(f"list_has_all({self.bind(list(wanted.only_tags))}::BIGINT[], tags)")
        for column, match in (
            ('"user"', wanted.user),
            ("project", wanted.project),
            ("cluster", wanted.cluster),
            ("sub_cluster", wanted.sub_cluster),
            ("partition", wanted.partition),
            ("job_name", wanted.job_name),
        ):
            self._text(column, match)
        self._number_text("job_id", wanted.job_id)
        self._any_text("hosts", wanted.node)
        if wanted.schedule == INTERACTIVE:
            self.require(f"job_name = {self.bind(INTERACTIVE)}")
        elif wanted.schedule == "batch":
            self.require(f"job_name <> {self.bind(INTERACTIVE)}")
        for column, bounds in (
            ("start_time", wanted.start_time),
            (ELAPSED, wanted.duration),
            ("num_nodes", wanted.num_nodes),
            ("num_hwthreads", wanted.num_hwthreads),
            ("num_acc", wanted.num_acc),
            ("energy", wanted.energy),
        ):
            self._range(column, bounds)
        for key, bounds in wanted.footprints:
            self._range(self.footprint(key), bounds)

    def footprint(self, key: str) -> str:
        """The column of a footprint key; a key no job has is an empty column."""
        number, newest = self._footprints.get(key), self._running.get(key)
        stored = "NULL::DOUBLE" if number is None else f"f{number:d}"
        if newest is None:
            return stored
        return f"CASE WHEN state = 'running' THEN coalesce(r{newest:d}, {stored}) ELSE {stored} END"

    def order_by(self, order: JobOrder | None) -> str:
        """Missing values first ascending, last descending; ties by id descending. Without order: by id."""
        if order is None:
            return "id ASC"
        if order.footprint:
            column = self.footprint(order.field)
        elif order.field in ORDER_COLUMNS:
            column = ORDER_COLUMNS[order.field]
        else:
            raise InvalidInputError(
                f"jobs cannot be ordered by {order.field!r}; use one of {', '.join(sorted(ORDER_COLUMNS))}"
            )
        if order.direction is Direction.ASCENDING:
            return f"{column} ASC NULLS FIRST, id DESC"
        return f"{column} DESC NULLS LAST, id DESC"

    def _one_of(self, column: str, values: Sequence[Any]) -> str:
        if not values:
            return _NEVER
        if len(values) == 1:
            return f"{column} = {self.bind(values[0])}"
        return f"{column} IN ({', '.join(self.bind(value) for value in values)})"

    def _text(self, column: str, match: TextMatch | None) -> None:
        if match is not None and is_given(match):
            self.require(self._text_condition(column, match))

    def _text_condition(self, column: str, match: TextMatch) -> str:
        if match.eq is not None:
            return f"{column} = {self.bind(match.eq)}"
        if match.neq is not None:
            return f"{column} <> {self.bind(match.neq)}"
        pattern = like_pattern(match)
        if pattern is not None:
            return self._like(column, pattern)
        return self._one_of(column, match.one_of or ())

    def _like(self, column: str, pattern: str) -> str:
        """LIKE that ignores the case of ASCII letters only. ILIKE, which knows other letters too, is far
        faster: it rules out what cannot match."""
        parameter = self.bind(pattern)
        if pattern == pattern.upper():
            return f"{column} LIKE {parameter}"
        return f"{column} ILIKE {parameter} AND {_ascii_lower(column)} LIKE {parameter}"

    def _any_text(self, column: str, match: TextMatch | None) -> None:
        if match is None or not is_given(match):
            return
        if match.eq is not None:
            self.require(f"list_contains({column}, {self.bind(match.eq)})")
        elif match.neq is None and like_pattern(match) is None:
            self.require(f"list_has_any({column}, {self.bind(list(match.one_of or ()))}::VARCHAR[])")
        else:
            condition = self._text_condition("host", match)
            self.require(f"len(list_filter({column}, lambda host: {condition})) > 0")

    def _number_text(self, column: str, match: TextMatch | None) -> None:
        if match is None or not is_given(match):
            return
        if match.eq is not None:
            number = number_in(match.eq)
            self.require(_NEVER if number is None else f"{column} = {self.bind(number)}")
        elif match.neq is not None:
            number = number_in(match.neq)
            if number is not None:
                self.require(f"{column} <> {self.bind(number)}")
        elif like_pattern(match) is None:
            numbers = [number for text in match.one_of or () if (number := number_in(text)) is not None]
            self.require(self._one_of(column, numbers))
        else:
            self._text(f"CAST({column} AS VARCHAR)", match)

    def _range(self, column: str, bounds: Range | None) -> None:
        if bounds is None:
            return
        if bounds.low is not None:
            self.require(f"{column} >= {self.bind(_whole(bounds.low))}")
        if bounds.high is not None:
            self.require(f"{column} <= {self.bind(_whole(bounds.high))}")


def predicate(
    visibility: JobVisibility,
    filters: Sequence[JobFilter],
    now: int,
    footprints: Mapping[str, int],
    running: Mapping[str, int] | None = None,
) -> Predicate:
    """The condition of a question; visibility comes first."""
    made = Predicate(now, footprints, running)
    made.restrict(visibility)
    for each in filters:
        made.add(each)
    return made


def start_bounds(filters: Sequence[JobFilter]) -> tuple[float, float]:
    """The window outside of which no job can match, so that whole months are left out."""
    ranges = [each.start_time for each in filters if each.start_time is not None]
    low = max((bounds.low for bounds in ranges if bounds.low is not None), default=float("-inf"))
    high = min((bounds.high for bounds in ranges if bounds.high is not None), default=float("inf"))
    return low, high


def _ascii_lower(column: str) -> str:
    return f"translate({column}, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"


def _whole(bound: float) -> float | int:
    """A whole number where it is one: then statistics of the files can rule row groups out."""
    return int(bound) if float(bound).is_integer() and abs(bound) < 2**53 else float(bound)
