from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.clusters.nodelist import NodeList, compress
from clustercockpit.errors import InvalidInputError


@pytest.mark.parametrize(
    ("expression", "inside", "outside", "count"),
    [
        (
            "hallo,wel123t,emmy[01-99],fritz[005-500],woody[100-200]",
            ["hallo", "wel123t", "emmy01", "emmy42", "emmy99", "woody100", "woody199"],
            ["hello", "woody", "fritz1", "fritz9", "fritz004", "woody201"],
            698,
        ),
        (
            "a[1000-2000,2010-2090,3000-5000]",
            ["a1001", "a2000", "a2042", "a3000", "a4321"],
            ["a0", "a0000", "a2005", "a5001"],
            3083,
        ),
        (
            "cn-0010,cn0011,cn-00[13-18,22-24]",
            ["cn-0010", "cn0011", "cn-0013", "cn-0015", "cn-0018", "cn-0022"],
            ["cn-0019"],
            11,
        ),
        ("node[01-10],login", ["node10", "login"], ["node5", "node11"], 11),
        ("login,compute[001-100]", ["compute001"], ["compute1"], 101),
        ("a[1-9]", ["a5"], ["a0", "a10", "a", "a٣"], 9),
        # What the reference reads but then mistakes
        ("a[1-9,10-20]", ["a15", "a9"], ["a21"], 20),
        ("r[1-2]n[01-02]x", ["r1n02x"], ["r1", "r1n02"], 4),
        ("[01-03]", ["02"], ["4"], 3),
        ("a,,b,", ["a", "b"], [""], 2),
        ("a[5-3]", [], ["a4"], 0),
        ("", [], [""], 0),
    ],
)
def test_contains_expand_and_count(
    expression: str, inside: list[str], outside: list[str], count: int
) -> None:
    nodes = NodeList.parse(expression)
    assert [host for host in inside if host not in nodes] == []
    assert [host for host in outside if host in nodes] == []
    assert len(nodes) == count
    assert len(list(nodes)) == count


def test_expansion_keeps_the_order_written() -> None:
    assert list(NodeList.parse("node[01-03],login")) == ["node01", "node02", "node03", "login"]


@pytest.mark.parametrize("expression", ["a[01-9]", "a[01-02", "a b", "-a", "a_1", "*", "a[]", "a[x-y]"])
def test_what_the_grammar_refuses(expression: str) -> None:
    with pytest.raises(InvalidInputError, match="node list"):
        NodeList.parse(expression)


def test_a_single_number_in_brackets_says_how_to_write_it() -> None:
    with pytest.raises(InvalidInputError, match="write 020-020"):
        NodeList.parse("a[001-010,020]")


def test_a_list_too_long_to_enumerate_still_answers() -> None:
    nodes = NodeList.parse("a[0000-9999][0000-9999]")
    assert len(nodes) == 10**8
    assert "a00420042" in nodes
    assert "a0042004" not in nodes


_name = st.from_regex(r"[a-z0-9][a-z0-9-]{0,4}[0-9]{0,4}", fullmatch=True)


@given(st.lists(_name, max_size=40))
@settings(max_examples=200, deadline=None)
def test_compressing_and_parsing_gives_the_same_hosts(hosts: list[str]) -> None:
    nodes = NodeList.parse(compress(hosts))
    assert sorted(nodes) == sorted(set(hosts))
    assert all(host in nodes for host in hosts)


def test_compressing_reads_well() -> None:
    hosts = ["f0104", "f0101", "f0102", "login", "f0201", "a9", "a10"]
    assert compress(hosts) == "a10,a9,f[0101-0102,0104-0104,0201-0201],login"
