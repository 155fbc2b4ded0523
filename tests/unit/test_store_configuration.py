"""What the store takes from the configuration: a site's whole document, or that of a store by itself."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from cc_metric_store.configuration import LONGEST_CHECKPOINT_INTERVAL, StoreConfiguration, Subscription
from clustercockpit.config.source import ConfigurationSource, FilePlace, Place, place_of
from clustercockpit.errors import ConfigurationError
from clustercockpit.storage.directory import DirectoryObjectStore

SITE = {"main": {"addr": "127.0.0.1:8080"}, "auth": {"jwts": {"max-age": "2000h"}}}


def read_at(place: Place | None, *, required: bool = False) -> StoreConfiguration:
    return StoreConfiguration.read(place, ConfigurationSource(place, required=required).current)


def read(folder: Path, document: object) -> StoreConfiguration:
    file = folder / "config.json"
    file.write_bytes(orjson.dumps(document))
    return read_at(FilePlace(file), required=True)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    "section",
    [
        {
            "retention-in-memory": "36h",
            "memory-cap": 3,
            "nats-subscriptions": [{"subscribe-to": "hpc", "cluster-tag": "c"}],
        },
        {
            "retention_in_memory": "36h",
            "memoryCap": 3,
            "natsSubscriptions": [{"subscribe_to": "hpc", "clusterTag": "c"}],
        },
    ],
)
def test_every_spelling_means_the_same(tmp_path: Path, section: dict[str, object], alone: bool) -> None:
    names = {"flops_any": {"frequency": 60, "aggregation": "sum"}}
    document = {"metric-store": section, "nats": {"address": "nats://n:4222", "credsFilePath": "/c"}}
    found = read(tmp_path, document | ({"metrics": names} if alone else SITE))
    assert (found.retention, found.memory_cap) == (36 * 3600, 3_000_000_000)
    assert found.subscriptions == (Subscription("hpc", "c"),)
    assert (found.nats.address, found.nats.credentials) == ("nats://n:4222", "/c")
    assert found.metrics == (names if alone else None)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("interval", "seconds"), [("12h", LONGEST_CHECKPOINT_INTERVAL), ("5m", 300), ("0s", 900), (None, 900)]
)
def test_a_checkpoint_is_at_most_a_quarter_of_an_hour_old(
    tmp_path: Path, interval: str | None, seconds: float, alone: bool
) -> None:
    section = {"retention-in-memory": "48h", "memory-cap": 0, "checkpoint-interval": interval}
    found = read(tmp_path, {"metric-store": section} | ({"metrics": {}} if alone else SITE))
    assert found.checkpoint_interval == seconds


def test_a_misspelt_key_of_a_site_is_refused(tmp_path: Path) -> None:
    section = {"retention-in-memory": "48h", "memory-cap": 0, "memory-capp": 1}
    with pytest.raises(ConfigurationError, match="memory-capp"):
        read(tmp_path, {"metric-store": section} | SITE)


DOCUMENT = orjson.dumps(
    SITE
    | {
        "metric-store": {"retention-in-memory": "3h", "memory-cap": 0},
        "nats": {"address": "nats://example.org"},
    }
)


def test_without_a_named_file_the_data_buckets_document_holds(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    place = place_of("", lambda: store)
    assert read_at(place).retention == 48 * 3600
    store.put("config/config.json", DOCUMENT)
    found = read_at(place)
    assert (found.retention, found.nats.address) == (3 * 3600, "nats://example.org")


def test_a_named_file_goes_before_the_bucket_and_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with pytest.raises(ConfigurationError, match=r"config\.json does not exist"):
        read_at(place_of(str(file), None), required=True)
    file.write_bytes(DOCUMENT)
    assert read_at(place_of(str(file), None), required=True).retention == 3 * 3600


def test_a_damaged_document_is_named(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    for content, why in ((b"{", "is not JSON"), (b"[]", "must hold a JSON object")):
        store.put("config/config.json", content)
        with pytest.raises(ConfigurationError, match=rf"config/config\.json {why}"):
            read_at(place_of("", lambda: store))
