"""A job's life through the deployed stack: gateway, functions, queue, schedules. Nothing by ASGI directly."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx
import pytest

from local_stack import demo
from local_stack.deploy import DeployedStack

pytestmark = pytest.mark.slow

T = TypeVar("T")


def wait_for(what: Callable[[], T], seconds: float) -> T:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.5)
    return found


def test_somebody_logs_in_and_reads_the_page(gateway: httpx.Client) -> None:
    # `/login/`, for the emulator takes POST /login for itself
    answer = gateway.post("/login/", data={"username": "admin", "password": demo.PASSWORD})
    assert answer.status_code == 302, answer.text
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "Secure"} <= set(attributes)
    # Behind TLS a browser sends it back; to the emulator's plain HTTP a client would not
    me = gateway.get("/frontend/me/", headers={"Cookie": cookie})
    assert me.status_code == 200, me.text
    assert me.json()["username"] == "admin"
    assert gateway.post("/login/", data={"username": "admin", "password": "wrong-wrong"}).status_code == 401
    page = gateway.get("/", headers={"Cookie": cookie})
    assert page.status_code == 200, page.text
    assert "<!doctype html>" in page.text.lower()


def test_without_log_in_nothing_is_told(gateway: httpx.Client) -> None:
    assert gateway.get("/frontend/me/").status_code == 401
    assert gateway.get("/api/jobs/").status_code == 401
    assert gateway.post("/api/jobs/start_job/", json={}).status_code == 401


def test_a_job_is_started_measured_stopped_and_archived(gateway: httpx.Client, stack: DeployedStack) -> None:
    token = {"Authorization": f"Bearer {demo.api_token(stack.site())}"}
    start = int(time.time()) - 1800
    answer = gateway.post(
        "/api/jobs/start_job/",
        headers=token,
        json={
            "jobId": 4711,
            "user": "alice",
            "project": "aerosol",
            "cluster": "kestrel",
            "partition": "standard",
            "numNodes": 1,
            "resources": [{"hostname": "kst001"}],
            "startTime": start,
            "walltime": 7200,
        },
    )
    assert answer.status_code == 201, answer.text

    lines = "".join(
        f"cpu_load,cluster=kestrel,hostname=kst001,type=node value={72 + step % 3} {start + 60 * step}\n"
        for step in range(30)
    )
    written = httpx.post(
        f"{stack.options.metric_store_url}/api/write",
        params={"cluster": "kestrel"},
        content=lines,
        headers=token,
    )
    assert written.status_code == 200, written.text

    listed = gateway.get("/api/jobs/", params={"state": "running"}, headers=token)
    assert listed.status_code == 200, listed.text
    (job,) = listed.json()["jobs"]
    assert (job["jobId"], job["jobState"]) == (4711, "running")

    stopped = gateway.post(
        "/api/jobs/stop_job/",
        headers=token,
        json={
            "jobId": 4711,
            "cluster": "kestrel",
            "startTime": start,
            "stopTime": start + 1790,
            "jobState": "completed",
        },
    )
    assert stopped.status_code == 200, stopped.text

    def archived() -> bool:
        found = gateway.get("/api/jobs/", params={"state": "completed"}, headers=token).json()["jobs"]
        return [j["monitoringStatus"] for j in found] == [3]

    wait_for(archived, 60)
    site = stack.site()
    meta = site.archive.read_meta("kestrel", 4711, start)
    assert meta.statistics
    assert meta.statistics["cpu_load"].max == 74
    single = gateway.get(f"/api/jobs/{job['id']}", params={"all-metrics": "true"}, headers=token)
    assert single.status_code == 200, single.text
    (series,) = single.json()["Data"]["cpu_load"]["node"]["series"]
    measured = [value for value in series["data"] if value is not None]
    assert len(measured) >= 25
    assert set(measured) <= {72, 73, 74}


def test_a_schedule_fires(stack: DeployedStack) -> None:
    """The index builder, every minute: its head is in the table though nobody asked for it."""
    head = wait_for(lambda: stack.site().index_heads.read(), 100)
    assert head.version >= 1


def test_no_message_is_dead(stack: DeployedStack) -> None:
    from local_stack.deployment import client
    from local_stack.emulator import Emulator

    sqs = client(Emulator(stack.options), "sqs")
    queue = stack.outputs["DeadLetterQueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
    assert attributes["Attributes"]["ApproximateNumberOfMessages"] == "0"
