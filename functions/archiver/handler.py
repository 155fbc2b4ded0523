"""Lambda entry of the archiver: a queue message per stopped job. Those that fail stay in the queue."""

import logging
from typing import Any

from clustercockpit.archive import archiver
from clustercockpit.site import Site
from clustercockpit.storage.sqs import job_id_in

site = Site()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    failures = []
    for record in event["Records"]:
        try:
            attempt = int(record["attributes"]["ApproximateReceiveCount"])
            archiver.handle(site, job_id_in(record["body"]), attempt=attempt)
        except Exception:
            logging.exception("message %s failed", record["messageId"])
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
