"""Where the metric store finds its configuration: a named file, or the data bucket, as all do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_metric_store.configuration import StoreConfiguration
from clustercockpit.config.source import place_of
from clustercockpit.errors import ConfigurationError
from clustercockpit.storage.directory import DirectoryObjectStore

DOCUMENT = b'{"metric-store": {"retention-in-memory": "3h"}, "nats": {"address": "nats://example.org"}}'


def test_without_a_named_file_the_data_buckets_document_holds(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    place = place_of("", lambda: store)
    assert StoreConfiguration.read(place, required=False).retention == 48 * 3600
    store.put("config/config.json", DOCUMENT)
    read = StoreConfiguration.read(place, required=False)
    assert (read.retention, read.nats.address) == (3 * 3600, "nats://example.org")


def test_a_named_file_goes_before_the_bucket_and_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with pytest.raises(ConfigurationError, match=r"config\.json does not exist"):
        StoreConfiguration.read(place_of(str(file), None), required=True)
    file.write_bytes(DOCUMENT)
    assert StoreConfiguration.read(place_of(str(file), None), required=True).retention == 3 * 3600


def test_a_damaged_document_is_named(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    for content, why in ((b"{", "is not JSON"), (b"[]", "must hold a JSON object")):
        store.put("config/config.json", content)
        with pytest.raises(ConfigurationError, match=rf"config/config\.json {why}"):
            StoreConfiguration.read(place_of("", lambda: store), required=False)
