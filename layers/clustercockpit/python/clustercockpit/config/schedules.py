"""Durations of the `cron` section as EventBridge schedules, which know whole minutes only."""

from __future__ import annotations

import logging
import math

log = logging.getLogger(__name__)


def schedule_expression(key: str, seconds: float) -> str | None:
    """`rate(5 minutes)`; None for 0, which switches a worker off. Rounds up to whole minutes, and says so."""
    if seconds <= 0:
        return None
    minutes = max(1, math.ceil(seconds / 60))
    if minutes * 60 != seconds:
        log.warning(
            "%s: %g s is rounded up to %d min, the least a schedule can tell apart", key, seconds, minutes
        )
    return f"rate({minutes} minute{'s' if minutes > 1 else ''})"
