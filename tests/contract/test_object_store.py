"""The port of object storage, against each implementation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from clustercockpit.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from clustercockpit.settings import Settings
from clustercockpit.storage import aws
from clustercockpit.storage.directory import DirectoryObjectStore
from clustercockpit.storage.objects import ObjectStore
from clustercockpit.storage.s3 import S3ObjectStore


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, credentials: None) -> Iterator[ObjectStore]:
    if request.param == "directory":
        yield DirectoryObjectStore(tmp_path)
        return
    with mock_aws():
        client = aws.client(Settings(aws_region="us-east-1"), "s3")
        client.create_bucket(Bucket="archive")
        yield S3ObjectStore("archive", client)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [item.key for item in store.list(prefix)]


def test_put_get_head_delete(store: ObjectStore) -> None:
    etag = store.put("emmy/1/001/5/meta.json", b"{}", content_type="application/json")
    assert store.get("emmy/1/001/5/meta.json") == (b"{}", etag)
    found = store.head("emmy/1/001/5/meta.json")
    assert found is not None
    assert (found.key, found.size, found.etag) == ("emmy/1/001/5/meta.json", 2, etag)
    store.delete("emmy/1/001/5/meta.json")
    store.delete("emmy/1/001/5/meta.json")
    assert store.head("emmy/1/001/5/meta.json") is None
    with pytest.raises(NotFoundError, match=r"meta\.json"):
        store.get("emmy/1/001/5/meta.json")
    assert list(store.list_folders()) == []


def test_a_folder_is_not_an_object(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    assert store.head("a") is None
    with pytest.raises(NotFoundError):
        store.get("a")
    assert store.head("a/b/c") is None
    store.delete("a")
    assert store.get("a/b")[0] == b"x"


def test_overwriting_changes_the_version(store: ObjectStore) -> None:
    first = store.put("k", b"1")
    second = store.put("k", b"2")
    assert first != second
    assert store.get("k") == (b"2", second)


def test_ranges(store: ObjectStore) -> None:
    store.put("k", b"0123456789")
    assert store.get_range("k", 2, 3) == b"234"
    assert store.get_range("k", 8, 30) == b"89"
    assert store.get_range("k", 10, 5) == b""
    assert store.get_range("k", 3, 0) == b""
    with pytest.raises(NotFoundError):
        store.get_range("absent", 0, 1)
    with pytest.raises(InvalidInputError):
        store.get_range("k", -1, 1)


def test_if_absent_lets_one_through(store: ObjectStore) -> None:
    store.put("k", b"1", if_absent=True)
    with pytest.raises(ConflictError):
        store.put("k", b"2", if_absent=True)
    assert store.get("k")[0] == b"1"


def test_if_match_lets_the_reader_of_the_last_version_through(store: ObjectStore) -> None:
    first = store.put("k", b"1")
    second = store.put("k", b"2", if_match=first)
    with pytest.raises(ConflictError):
        store.put("k", b"3", if_match=first)
    assert store.get("k") == (b"2", second)
    with pytest.raises(ConflictError):
        store.put("absent", b"1", if_match=first)
    assert store.head("absent") is None


def test_listing_is_in_byte_order_of_keys(store: ObjectStore) -> None:
    names = ["a/b", "a-b", "a.b", "a0", "a/c/d", "a/c-d", "b", "ä/x", "aa/z", "A"]
    for name in names:
        store.put(name, b"")
    assert keys(store) == sorted(names, key=str.encode)
    assert keys(store, "a/") == ["a/b", "a/c-d", "a/c/d"]
    assert keys(store, "a/c") == ["a/c-d", "a/c/d"]
    assert keys(store, "a") == sorted((n for n in names if n.startswith("a")), key=str.encode)
    assert keys(store, "nothing/") == []
    assert list(store.list_folders()) == ["a", "aa", "ä"]
    assert list(store.list_folders("a")) == ["c"]
    assert list(store.list_folders("a/")) == ["c"]
    assert list(store.list_folders("b")) == []


@pytest.mark.parametrize(
    "key",
    ["", "/", "/etc/passwd", "a/", "a//b", "../x", "a/../../x", "a/./b", "a\\b", "a\0b", "a\nb", ".", "..",
     "x" * 1025, "y" * 256, ".cc-tmp-1", "\ud800"],
)  # fmt: skip
def test_hostile_keys_are_refused(store: ObjectStore, key: str) -> None:
    for call in (store.get, store.head, store.delete):
        with pytest.raises(InvalidInputError):
            call(key)
    with pytest.raises(InvalidInputError):
        store.put(key, b"")
    with pytest.raises(InvalidInputError):
        store.get_range(key, 0, 1)


@pytest.mark.parametrize("prefix", ["..", "../", "a/../b", "/", "//", "a\0"])
def test_hostile_prefixes_are_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidInputError):
        list(store.list(prefix))
    with pytest.raises(InvalidInputError):
        list(store.list_folders(prefix))


def test_more_than_one_page(store: ObjectStore) -> None:
    for number in range(1005):
        store.put(f"p/{number:04}", b"")
    assert len(keys(store, "p/")) == 1005


def test_a_missing_bucket_says_so(credentials: None) -> None:
    with mock_aws():
        store = S3ObjectStore("nowhere", boto3.client("s3", region_name="us-east-1"))
        with pytest.raises(ConfigurationError, match="nowhere"):
            store.get("k")


def test_a_directory_keeps_no_trace_of_a_failed_write(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    etag = store.put("a/k", b"1")
    with pytest.raises(ConflictError):
        store.put("a/k", b"2", if_match=etag + "0")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["k"]
    (tmp_path / "a" / ".cc-tmp-left").write_bytes(b"torn")
    assert keys(store) == ["a/k"]


def test_a_directory_cannot_hold_an_object_and_a_folder_of_one_name(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    store.put("a", b"1")
    with pytest.raises(InvalidInputError, match="both"):
        store.put("a/b", b"2")
    store.put("c/d", b"1")
    with pytest.raises(InvalidInputError, match="both"):
        store.put("c", b"2")


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent"):
        store.put("a/b", b"1")


def test_of_many_writers_with_one_version_one_wins(tmp_path: Path) -> None:
    etag = DirectoryObjectStore(tmp_path).put("k", b"0")
    won: list[int] = []

    def write(number: int) -> None:
        try:
            DirectoryObjectStore(tmp_path).put("k", b"%d" % number, if_match=etag)
        except ConflictError:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert DirectoryObjectStore(tmp_path).get("k")[0] == b"%d" % won[0]


def test_a_server_that_is_away_is_not_named(credentials: None) -> None:
    settings = Settings(aws_region="us-east-1", aws_endpoint_url="http://127.0.0.1:9")
    client = aws.client(settings, "s3")
    with pytest.raises(UnavailableError) as told:
        S3ObjectStore("archive", client).get("a/b")
    assert "127.0.0.1" not in str(told.value)
    assert "a/b" not in str(told.value)
