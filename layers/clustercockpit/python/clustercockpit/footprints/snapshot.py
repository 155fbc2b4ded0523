"""The footprints of a cluster's running jobs as one object, `footprints/<cluster>.json` in the data bucket.

A footprint of a running job is stale within minutes and worthless once the job has ended, so it is no change
of the job: nothing is written to the table or the change log. A reader ignores it for jobs that do not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from clustercockpit.errors import InvalidInputError

PREFIX: Final = "footprints/"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class JobFootprint:
    """`values`: `<metric>_<avg|min|max>` → value over the job's run up to `at` (Unix seconds)."""

    at: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ClusterFootprints:
    """`begun` is when the run that wrote it began; single jobs may be of an earlier run."""

    begun: int
    jobs: Mapping[int, JobFootprint] = field(default_factory=dict)  # by our id


def key_of(cluster: str) -> str:
    return f"{PREFIX}{cluster}.json"


def encode(footprints: ClusterFootprints) -> bytes:
    """`{"version", "begun", "keys": […], "jobs": [[id, at, value or null per key …], …]}`: names once."""
    keys = sorted({key for job in footprints.jobs.values() for key in job.values})
    return orjson.dumps(
        {
            "version": _VERSION,
            "begun": footprints.begun,
            "keys": keys,
            "jobs": [
                [id, job.at, *(job.values.get(key) for key in keys)]
                for id, job in sorted(footprints.jobs.items())
            ],
        }
    )


def decode(content: bytes) -> ClusterFootprints:
    """InvalidInputError for anything that `encode` does not write."""
    try:
        document = orjson.loads(content)
        if document["version"] != _VERSION:
            raise InvalidInputError(f"footprints of version {document['version']!r} cannot be read")
        keys = [str(key) for key in document["keys"]]
        jobs = {
            int(id): JobFootprint(
                int(at),
                {key: float(value) for key, value in zip(keys, values, strict=True) if value is not None},
            )
            for id, at, *values in document["jobs"]
        }
        return ClusterFootprints(int(document["begun"]), jobs)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(f"footprints of running jobs cannot be read: {error}") from None
