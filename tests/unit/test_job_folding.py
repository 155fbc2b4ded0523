from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.jobs.folding import fold_hosts, pack_resources, unfold_hosts, unpack_resources
from clustercockpit.jobs.model import Resource

_hosts = st.lists(
    st.builds(
        "{}{:0{}d}".format, st.sampled_from(["f", "n-", "", "a1b"]), st.integers(0, 12), st.integers(1, 4)
    )
    | st.text(max_size=5),
    max_size=30,
)


@given(_hosts)
@settings(max_examples=200, deadline=None)
def test_every_name_survives_in_order(hosts: list[str]) -> None:
    assert unfold_hosts(fold_hosts(hosts)) == hosts


def test_neighbours_fold_into_one_entry() -> None:
    hosts = [f"f{number:04d}" for number in range(98, 103)]
    assert fold_hosts(hosts) == [["f", 98, 5, 4]]
    assert fold_hosts(["a9", "a10", "a11", "login"]) == [["a", 9, 3, 1], "login"]


_resources = st.lists(
    st.builds(
        Resource,
        hostname=st.sampled_from(["n1", "n2", "n3", "x"]),
        hwthreads=st.none() | st.lists(st.integers(0, 9), max_size=12).map(tuple),
        accelerators=st.none() | st.lists(st.sampled_from(["00:0E:00.0", "1"]), max_size=3).map(tuple),
        configuration=st.sampled_from(["", "turbo"]),
    ),
    max_size=12,
)


@given(_resources)
@settings(max_examples=150, deadline=None)
def test_resources_survive_packing(resources: list[Resource]) -> None:
    assert unpack_resources(pack_resources(resources)) == tuple(resources)


def test_a_job_on_a_thousand_equal_nodes_packs_small() -> None:
    resources = [Resource(f"f{number:04d}", hwthreads=tuple(range(72))) for number in range(992)]
    assert len(pack_resources(resources)) < 60
