"""The local stack's `config.json`: written once, then the site's to edit; only addresses follow the ports."""

from __future__ import annotations

import json
from typing import Any

from local_stack.console import LocalStackError
from local_stack.options import Options

METRIC_SUBJECT, JOB_SUBJECT, NODE_SUBJECT = "hpc-metrics", "hpc-jobs", "hpc-nodes"


def write_configuration(options: Options) -> None:
    """Raises LocalStackError where an edited file is not a JSON object."""
    file = options.var / "config.json"
    document: dict[str, Any] = _first_document()
    if file.is_file():
        try:
            document = json.loads(file.read_text())
            document.setdefault("nats", {})
        except (json.JSONDecodeError, AttributeError) as error:
            raise LocalStackError(f"{file} is not a JSON object ({error}); mend or delete it") from None
    document["nats"]["address"] = options.nats_url
    file.write_text(json.dumps(document, indent=2) + "\n")


def _first_document() -> dict[str, Any]:
    return {
        "main": {
            "api-subjects": {"subject-job-event": JOB_SUBJECT, "subject-node-state": NODE_SUBJECT},
            "resampling": {"minimum-points": 600, "trigger": 300, "resolutions": [240, 60]},
        },
        "auth": {"jwts": {"max-age": "2000h"}},
        "nats": {"address": ""},
        # So that running jobs show footprints soon
        "cron": {"footprint-worker": "1m"},
        "metric-store": {
            "checkpoint-interval": "5m",
            "retention-in-memory": "48h",
            "memory-cap": 4,
            "nats-subscriptions": [{"subscribe-to": METRIC_SUBJECT}],
        },
    }
