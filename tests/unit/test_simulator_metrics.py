"""The demo site's metrics: lines as a collector writes them, and troubles that can be seen in them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.applications import CPU_APPLICATIONS, Place, healthy
from simulator.clusters import DemoCluster, load
from simulator.demo_site import DemoSite
from simulator.lines import number
from simulator.nodes import Fault, Node, job_activity
from simulator.outlets import chunks
from simulator.pathologies import UNSEEN_IN_ACTIVITY
from simulator.schedule import Job

START = 1_790_000_000
LINE = re.compile(r"([a-z_]+),([^ ]+) value=(-?\d[\d.e+-]*i?) (\d{10})")


def _site() -> DemoSite:
    site = DemoSite(seed=1, start=START)
    site.advance(START + 7200)
    return site


SITE = _site()
TEXTS = {b.host: b.text for b in SITE.batches(START + 3600, START + 3720)}


def test_every_line_is_one_the_collector_would_write() -> None:
    assert set(TEXTS) == {*load("kestrel").hosts, *load("heron").hosts}
    for host, text in TEXTS.items():
        assert text.endswith("\n")
        for line in text.splitlines():
            matched = LINE.fullmatch(line)
            assert matched, line
            _, tags, value, time = matched.groups()
            pairs = [tag.split("=") for tag in tags.split(",")]
            keys = [key for key, _ in pairs]
            assert keys == sorted(keys)
            named = dict(pairs)
            assert named["hostname"] == host
            assert ("type-id" in named) == (named["type"] != "node")
            assert np.isfinite(float(value.removesuffix("i")))
            assert START + 3600 < int(time) <= START + 3721


@pytest.mark.parametrize("name", ["kestrel", "heron"])
def test_every_configured_series_is_sampled_at_its_interval(name: str) -> None:
    cluster = load(name)
    host = cluster.hosts[0]
    shape = cluster.shape(host)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in TEXTS[host].splitlines():
        series, _, _ = line.partition(" ")
        tags = dict(tag.split("=") for tag in series.split(",")[1:])
        counts[series.split(",")[0] + "@" + tags["type"]][tags.get("type-id", "")] += 1
    ids = {
        "node": [""],
        "socket": [str(n) for n in range(len(shape.sockets))],
        "memoryDomain": [str(n) for n in range(len(shape.domains))],
        "core": [str(n) for n in range(len(shape.cores))],
        "hwthread": [str(n) for n in range(shape.threads)],
        "accelerator": list(shape.accelerators),
    }
    for metric in cluster.metrics.values():
        found = counts[f"{metric.name}@{metric.scope}"]
        assert found == dict.fromkeys(ids[metric.scope], 120 // metric.step), metric.name
    assert "load_five@node" in counts, "a collector sends what nobody configured, too"


def test_nodes_are_not_in_step() -> None:
    phases = {Node(load("kestrel"), host, seed=1).phase for host in load("kestrel").hosts}
    assert len(phases) > 12


def _parsed(site: DemoSite, edges: list[int], host: str) -> tuple[list[str], list[float]]:
    lines = "".join(
        b.text for first, last in pairwise(edges) for b in site.batches(first, last) if b.host == host
    ).splitlines()
    found = [line.split(" ") for line in lines]
    return [series + time for series, _, time in found], [
        float(value.removeprefix("value=").removesuffix("i")) for _, value, _ in found
    ]


def test_windows_and_live_steps_give_the_same_lines() -> None:
    whole, values = _parsed(_site(), [START + 600, START + 900], "kst003")
    steps, again = _parsed(_site(), list(range(START + 600, START + 901, 5)), "kst003")
    assert steps == whole
    assert again == pytest.approx(values, rel=1e-9)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12.0, "12"), (88.50331564986737, "88.50331564986737"), (1e6, "1e+06"), (1.5e-7, "1.5e-07"),
     (1234567.5, "1.2345675e+06"), (999999.0, "999999"), (0.0001, "0.0001"), (0.00002, "2e-05"),
     (1e22, "1e+22"), (30000000.0, "3e+07")],
)  # fmt: skip
def test_numbers_are_written_as_go_does(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(min_value=0, max_value=1e18, allow_nan=False))
@settings(max_examples=300, deadline=None)
def test_no_number_loses_a_bit(value: float) -> None:
    assert float(number(value)) == value


@given(st.lists(st.text("ab", max_size=20), max_size=30), st.integers(5, 60))
@settings(max_examples=100, deadline=None)
def test_messages_are_cut_at_line_ends(lines: list[str], size: int) -> None:
    text = "".join(line + "\n" for line in lines)
    pieces = chunks(text, size)
    assert "".join(pieces) == text
    assert all(p.endswith("\n") and (len(p) <= size or p.count("\n") == 1) for p in pieces)


# Troubles: one job of each kind, its samples against those of the same job without the trouble.


def _jobs_by_kind() -> dict[str, Job]:
    site = DemoSite(seed=3, start=START)
    found: dict[str, Job] = {}
    for event in site.advance(START + 10 * 3600):
        for trouble in event.job.submission.troubles:
            found.setdefault(trouble.kind, event.job)
    return found


KINDS = _jobs_by_kind()


def _values(job: Job, index: int = 0, fault: Fault | None = None) -> dict[str, np.ndarray]:
    cluster: DemoCluster = load(job.cluster)
    node = Node(cluster, job.allocations[index].host, seed=3, fault=fault)
    ticks = node.ticks(job.start, job.end - 10)
    return dict(node.sample(ticks, [(job, index)])) | {"ticks": ticks}


def _shown(job: Job) -> slice:
    """Rows in which the first trouble shows, with a minute to settle."""
    trouble = job.submission.troubles[0]
    ticks = _values(job)["ticks"]
    return slice(
        int(np.searchsorted(ticks, job.start + max(trouble.onset, job.submission.app.prologue) + 60)), None
    )


def test_every_trouble_occurs() -> None:
    assert set(KINDS) == {
        "idle devices", "badly fed", "unused nodes", "few threads", "pinned", "oversubscribed", "imbalance",
        "growth", "metadata storm", "stalls", "hung",
        *(UNSEEN_IN_ACTIVITY - {"slow node", "slow device"}),
    }  # fmt: skip


def test_d1_idle_devices_stay_at_nothing() -> None:
    job = KINDS["idle devices"]
    trouble = job.submission.troubles[0]
    for index, allocation in enumerate(job.allocations):
        values = _values(job, index)
        for position, device in enumerate(allocation.accelerators):
            idle = trouble.devices is None or (index, position) in trouble.devices
            used = values["acc_utilization"][_shown(job), device]
            assert (used.max() <= 1) == idle
            assert (values["acc_processes"][_shown(job), device].max() == 0) == idle


def test_d2_a_badly_fed_device_works_a_quarter_of_the_time_beside_a_full_loader() -> None:
    job = KINDS["badly fed"]
    (allocation,) = job.allocations
    values = _values(job)
    assert 3 < values["acc_utilization"][_shown(job)][:, list(allocation.accelerators)].mean() <= 25
    users = values["cpu_user"][_shown(job)][:, list(allocation.threads)].mean(axis=0)
    assert (users > 90).sum() == len(allocation.accelerators)


def test_d3_unused_nodes_do_nothing_while_others_work() -> None:
    job = KINDS["unused nodes"]
    unused = job.submission.troubles[0].nodes
    assert unused
    for index in range(len(job.allocations)):
        user = _values(job, index)["cpu_user"][_shown(job)].mean()
        assert user < 2 if index in unused else user > 20


def test_d4_few_threads_carry_the_job() -> None:
    job = KINDS["few threads"]
    (allocation,) = job.allocations
    users = _values(job)["cpu_user"][_shown(job)][:, list(allocation.threads)].mean(axis=0)
    assert (users > 50).sum() == round(job.submission.troubles[0].strength)
    assert (users > 50).sum() <= len(users) / 4


def test_d5_wrong_pinning_and_oversubscription() -> None:
    job = KINDS["pinned"]
    values = _values(job)
    users = values["cpu_user"][_shown(job)].mean(axis=0)
    used = (users > 80).sum()
    assert (users < 5).sum() >= 0.25 * len(users)
    assert values["cpu_load"][_shown(job)].mean() > 1.5 * used
    over = KINDS["oversubscribed"]
    assert _values(over)["cpu_load"][_shown(over)].mean() > 1.2 * 72


def test_d6_imbalance_keeps_its_order_while_all_look_busy() -> None:
    job = KINDS["imbalance"]
    every = [_values(job, index) for index in range(len(job.allocations))]
    rows = _shown(job)
    length = min(len(v["ticks"][rows]) for v in every)
    flops = np.array([v["flops_any"][rows][:length].sum(axis=1) for v in every])
    spread = (flops.max(axis=0) - flops.mean(axis=0)) / flops.max(axis=0)
    # With two nodes the heavy one pulls the mean up: (1 - 0.75) at the least.
    assert np.median(spread) > (0.3 if len(every) > 2 else 0.2)
    assert all(np.median(v["cpu_user"][rows]) > 90 for v in every)


def test_d7_the_ill_node_clocks_lower_whatever_runs() -> None:
    job = KINDS["imbalance"]
    host = job.allocations[0].host
    well = _values(job)["clock"]
    ill = _values(job, fault=Fault(host, 0.7))["clock"]
    assert np.median(ill / well) < 0.85
    device = KINDS["idle devices"]
    on = device.allocations[0]
    hot = _values(device, fault=Fault(on.host, 0.62, on.accelerators[0]))
    cool = _values(device)
    working = cool["acc_utilization"][:, on.accelerators[0]] > 10
    assert (hot["acc_sm_clock"][working, on.accelerators[0]] < 0.85 * 1410).all()


def test_d8_memory_grows_in_a_line_to_the_limit() -> None:
    job = KINDS["growth"]
    assert job.submission.state == "out_of_memory"
    values = _values(job)
    used = values["mem_used"][_shown(job), 0]
    time = values["ticks"][_shown(job)]
    assert np.corrcoef(time, used)[0, 1] ** 2 > 0.9
    assert used[-1] > 0.9 * job.submission.memory


def test_d9_requests_exceed_the_use() -> None:
    memory = KINDS["over-requested memory"]
    assert memory.submission.app.memory <= 0.2
    time = KINDS["over-requested time"]
    assert time.submission.duration / time.submission.walltime <= 0.2


def test_d10_storms_and_stalls() -> None:
    storm = _values(KINDS["metadata storm"])
    assert np.median(storm["file_opens"][_shown(KINDS["metadata storm"])]) > 1000
    job = KINDS["stalls"]
    values = _values(job)
    user = values["cpu_user"][_shown(job)][:, list(job.allocations[0].threads)].mean(axis=1)
    written = values["file_write"][_shown(job), 0]
    low = user < user.max() / 2
    assert 0.2 < low.mean() < 0.7
    assert written[low].mean() > 5 * written[~low].mean()


def test_d11_nothing_moves_after_it_hung() -> None:
    job = KINDS["hung"]
    trouble = job.submission.troubles[0]
    values = _values(job)
    hung = values["ticks"] >= job.start + trouble.onset
    flops = values["flops_any"].sum(axis=1)
    assert flops[hung].max() < 0.02 * np.median(flops[~hung])
    assert values["ib_recv"][hung].max() < 1
    assert job.submission.state == "timeout"
    assert job.submission.duration - trouble.onset >= 30 * 60


def test_d12_storm_tasks_are_short() -> None:
    assert KINDS["failure storm"].submission.duration < 60


def test_healthy_programs_start_up_iterate_and_write_checkpoints() -> None:
    shape = load("kestrel").shapes["main"]
    times = np.arange(START, START + 3600, 5)
    for app in CPU_APPLICATIONS:
        place = Place(times, START, START + 7200, 0, 2, shape, 72, 0, 256.0, 7)
        activity = healthy(app, place)
        total = activity.flops.sum(axis=1)
        assert total[: app.prologue // 5].mean() < 0.3 * np.median(total)
        assert activity.read[0] > 5 * np.median(activity.read)
        if app.checkpoint_every < 3600:
            assert activity.written.max() >= app.write * 0.9
        assert np.median(activity.busy) > 0.9
        assert total.max() <= shape.peak_flops
        assert activity.bandwidth.max() <= shape.peak_bandwidth


def test_a_job_shows_only_while_it_runs_and_where_it_is() -> None:
    job = KINDS["few threads"]
    (allocation,) = job.allocations
    node = Node(load(job.cluster), allocation.host, seed=3)
    ticks = np.arange(job.start - 300, job.end + 300, 15)
    users = node.sample(ticks, [(job, 0)])["cpu_user"]
    outside = (ticks < job.start) | (ticks >= job.end)
    assert users[outside].max() < 2
    others = sorted(set(range(node.shape.threads)) - set(allocation.threads))
    assert others == [] or users[:, others].max() < 2
    assert job_activity(job, 0, allocation, ticks[~outside], node.shape).busy.shape[1] == len(
        allocation.threads
    )
