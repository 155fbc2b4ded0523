"""A person at a browser, against the local stack: log in, find a running job, watch its points arrive, zoom,
and see the archived curves once it has stopped."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.clients.metric_collector import MetricCollector, Sample
from tests.clients.slurm_adapter import SlurmAdapter, SlurmJob
from tests.local_stack_process import ROOT, LocalStackProcess

SCREENSHOTS = ROOT / "tests" / "screenshots"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Nothing the browser does by itself may leave the machine or keep a profile.
CHROMIUM_SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: none is installed"),
    pytest.mark.skipif(
        not (ROOT / "web" / "dist" / "index.html").is_file(),
        reason="needs the built UI: `make test` makes it",
    ),
]

CLUSTER = "kestrel"
HOSTS = ("kst001", "kst002")
STEP = 15  # seconds between samples of `cpu_load` and `mem_used` there


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_SWITCHES)
        yield browser
        browser.close()


@dataclass
class Site:
    """The scheduler and the node agents around the stack."""

    adapter: SlurmAdapter
    collectors: list[MetricCollector]
    measured: int  # Unix seconds up to which samples were sent

    def measure(self, until: float) -> None:
        """Send what the nodes measured since the last time: a load of 40 and 60, memory growing."""
        times = range(self.measured + STEP, int(until) + 1, STEP)
        for i, collector in enumerate(self.collectors):
            samples = [
                sample
                for at in times
                for sample in (
                    Sample("cpu_load", 40.0 + 20 * i, at),
                    Sample("mem_used", 50.0 + (at % 3600) / 100, at),
                )
            ]
            if samples:
                assert collector.flush(samples), collector.last_answer
        if len(times):
            self.measured = times[-1]


def _elapsed(text: str | None) -> int:
    """Seconds of `10:15 · …` or `1:10:15 · …`, as a plot says the time it reads at."""
    found = re.match(r"(?:(\d+):)?(\d+):(\d+)", text or "")
    assert found, text
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)


def _read(page: Page, key: str) -> tuple[int, str]:
    """What the plot of `cpu_load` says at its first (Home) or last (End) point: the time, and all of it."""
    plot = page.locator("article[aria-label=cpu_load]")
    plot.get_by_role("figure").focus()
    page.keyboard.press(key)
    said = plot.locator("[aria-live=polite]").inner_text()
    return _elapsed(said), said


def _inaccessible(page: Page) -> list[str]:
    """What axe finds wrong with the page, from serious on. It runs in a world of its own beside the page's
    scripts, so that the page's Content-Security-Policy stays as it is."""
    session = page.context.new_cdp_session(page)
    frame = session.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
    world = {"frameId": frame, "worldName": "accessibility"}
    context = session.send("Page.createIsolatedWorld", world)["executionContextId"]
    run = (
        "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations"
        ".filter(({impact}) => impact === 'serious' || impact === 'critical')"
        ".map(({id, help, nodes}) => `${id}: ${help}: ${nodes.map(({target}) => target.join(' '))}`))"
    )
    answer = session.send(
        "Runtime.evaluate",
        {
            "expression": f"{AXE.read_text()};{run}",
            "contextId": context,
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    session.detach()
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    found: list[str] = answer["result"]["value"]
    return found


def test_watch_a_job_from_log_in_to_archive(local_stack: LocalStackProcess, browser: Browser) -> None:
    stack = local_stack
    SCREENSHOTS.mkdir(exist_ok=True)
    now = int(time.time())
    started = now - now % STEP - 600
    job = SlurmJob(
        job_id=4711,
        cluster=CLUSTER,
        user="alice",
        project="p101",
        start_time=started,
        hosts=HOSTS,
        walltime=3600,
        num_hwthreads=144,
        name="watched-run",
        script="#!/bin/bash\nsrun ./solver < /dev/null # <b>not bold</b>\n",
    )
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    failures: list[str] = []
    hosts: set[str] = set()
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on(
        "console",
        lambda message: failures.append(message.text) if "Content Security" in message.text else None,
    )
    page.on("request", lambda request: hosts.add(httpx.URL(request.url).host))
    with httpx.Client(base_url=stack.url, timeout=30) as hub, httpx.Client(timeout=30) as store:
        site = Site(
            SlurmAdapter(hub, stack.api_token, CLUSTER),
            [
                MetricCollector(
                    store,
                    f"{stack.metric_store_url}/api/write?cluster={CLUSTER}",
                    stack.api_token,
                    CLUSTER,
                    host,
                )
                for host in HOSTS
            ],
            measured=started - STEP,
        )
        assert site.adapter.start(job) == 201
        site.measure(time.time())

        # In through the door, to where one wanted to go
        page.goto(f"{stack.url}/monitoring/jobs/?cluster={CLUSTER}&state=running")
        expect(page.get_by_label("Username")).to_be_visible()
        assert _inaccessible(page) == []
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Password").fill(stack.password)
        page.get_by_role("button", name="Log in").click()

        # The list, with the job and its small plots
        row = page.get_by_role("listitem").filter(has_text="watched-run")
        expect(row).to_be_visible(timeout=20_000)
        expect(row.locator("canvas").first).to_be_visible(timeout=20_000)
        page.screenshot(path=SCREENSHOTS / "e2e-list.png")
        assert _inaccessible(page) == []
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/monitoring/job/\d+"))

        # The running job: its points arrive
        expect(page.locator("article[aria-label=cpu_load] .u-over")).to_be_visible(timeout=20_000)
        first, said = _read(page, "End")
        assert first >= 500
        assert "kst001 40" in said
        assert "kst002 60" in said
        limit = time.monotonic() + 90
        while (last := _read(page, "End")[0]) <= first:
            assert time.monotonic() < limit, "no new point arrived"
            site.measure(time.time())
            page.wait_for_timeout(1000)
        page.screenshot(path=SCREENSHOTS / "e2e-running.png")
        assert _inaccessible(page) == []

        # Zoom: one window for all plots, in the address, with the server's samples of it
        with page.expect_response(re.compile(r"/series\?.*from=")):
            box = page.locator("article[aria-label=cpu_load] .u-over").bounding_box()
            assert box is not None
            middle = box["y"] + box["height"] / 2
            page.mouse.move(box["x"] + box["width"] * 0.3, middle)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=5)
            page.mouse.up()
        page.wait_for_url(re.compile(r"from=\d+&to=\d+"))
        window = {
            key: int(value) for key, value in httpx.URL(page.url).params.items() if key in ("from", "to")
        }
        assert window["from"] - 1 <= _read(page, "Home")[0] <= window["from"] + STEP
        assert window["to"] - STEP <= _read(page, "End")[0] <= window["to"] + 1
        page.screenshot(path=SCREENSHOTS / "e2e-zoomed.png")
        page.go_back()
        expect(page.get_by_role("button", name="All", exact=True)).to_be_disabled()

        # It ends: the same view, now out of the archive
        site.measure(time.time())
        job.state, job.end_time = "COMPLETED", int(time.time())
        assert site.adapter.stop(job) == 200
        expect(page.get_by_text("from the archive")).to_be_visible(timeout=120_000)
        expect(page.get_by_text("completed", exact=True)).to_be_visible()
        archived, said = _read(page, "End")
        assert archived >= last
        assert "kst002 60" in said
        expect(
            page.get_by_role("region", name="Statistics").get_by_role("rowheader", name="kst002")
        ).to_be_visible()
        page.get_by_role("tab", name="Job script").click()
        expect(page.get_by_role("tabpanel")).to_contain_text("<b>not bold</b>")
        page.screenshot(path=SCREENSHOTS / "e2e-archived.png", full_page=True)

    assert failures == []
    assert hosts == {"127.0.0.1"}
    context.close()
