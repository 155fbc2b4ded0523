"""What becomes of an event: the same services as behind REST, and whether to try again."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cc_job_events.events import BadLine, Event
from clustercockpit.access.model import Role, User
from clustercockpit.errors import (
    ClusterCockpitError,
    ConflictError,
    NotFoundError,
    UnavailableError,
)
from clustercockpit.jobs.service import JobService
from clustercockpit.nodes.service import NodeService
from clustercockpit.reference_json import Anything, DecodingError, Integer, Record, decode

_log = logging.getLogger(__name__)

# Whoever may publish on the subjects is trusted as a scheduler is over REST.
BUS: Final = User("nats", frozenset({Role.API}))

STOP_WAITS_SECONDS: Final = 600.0
"""So long a stop whose start has not come is kept (ruling 6)."""
_NAMED: Final = Record({"jobId": Integer(), "cluster": Anything()})


class Outcome(Enum):
    DONE = "done"
    KNOWN = "known"  # it was so already
    IGNORED = "ignored"  # not for us
    WAIT = "wait"  # a stop whose start has not come yet
    RETRY = "retry"  # a part we need does not answer
    REFUSED = "refused"  # it can never be done


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    reason: str = ""


@dataclass
class Counts:
    """What became of events since the process began, for the log."""

    totals: Counter[str] = field(default_factory=Counter)

    def add(self, subject: str, outcome: str) -> None:
        self.totals[f"{subject}.{outcome}"] += 1


class EventHandler:
    """Carries events out. Blocking: call it in a thread. Never raises."""

    def __init__(
        self, jobs: JobService, nodes: NodeService, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._jobs = jobs
        self._nodes = nodes
        self._clock = clock

    def job_event(self, event: Event | BadLine) -> Result:
        if isinstance(event, BadLine):
            return Result(Outcome.REFUSED, f"{event.reason}: {event.shown!r}")
        if event.measurement != "job" or event.text is None:
            return Result(Outcome.IGNORED, f"measurement {event.measurement[:40]!r} without job event")
        function = event.tags.get("function", "")
        if function not in ("start_job", "stop_job"):
            return Result(Outcome.REFUSED, f"unknown function {function[:40]!r}")
        text = event.text
        if function == "start_job":
            return self._carried_out(lambda: self._jobs.start(text, BUS))
        return self._carried_out(lambda: self._jobs.stop(text), missing=Outcome.WAIT)

    def node_event(self, event: Event | BadLine, received: float) -> Result:
        if isinstance(event, BadLine):
            return Result(Outcome.REFUSED, f"{event.reason}: {event.shown!r}")
        if event.measurement != "nodestate" or event.text is None:
            return Result(Outcome.IGNORED, f"measurement {event.measurement[:40]!r} without node states")
        text = event.text
        return self._carried_out(lambda: self._nodes.report(text, received=received))

    @staticmethod
    def _carried_out(act: Callable[[], object], *, missing: Outcome = Outcome.REFUSED) -> Result:
        try:
            act()
        except ConflictError as error:
            return Result(Outcome.KNOWN, str(error))
        except NotFoundError as error:
            return Result(missing, str(error))
        except UnavailableError as error:
            return Result(Outcome.RETRY, str(error))
        except ClusterCockpitError as error:
            return Result(Outcome.REFUSED, str(error))
        except Exception as error:
            # Also what boto raises for a table that is gone: nothing about the event
            _log.exception("an event could not be carried out")
            return Result(Outcome.RETRY, f"{type(error).__name__}")
        return Result(Outcome.DONE)


def lane_of(event: Event | BadLine, lanes: int) -> int:
    """Which of `lanes` orders this event: events of one job share a lane.

    The job id alone decides. A stop may come without its cluster, and must still stay behind its start.
    """
    if isinstance(event, BadLine) or event.text is None:
        return 0
    try:
        named = decode(event.text, _NAMED, strict=False)
    except DecodingError:
        return 0
    return hash(named.get("jobId", 0)) % lanes
