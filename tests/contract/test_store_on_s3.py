"""The metric store's checkpoints and log in a bucket: everything comes back, and there is one writer."""

from __future__ import annotations

import asyncio

import pytest

from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.checkpoint import Checkpointer
from cc_metric_store.durability import LoggedWrite, OwnershipLostError
from cc_metric_store.engine import Engine
from cc_metric_store.segment_log import SegmentLog
from cc_metric_store.segments import ObjectSegments
from clustercockpit.errors import UnavailableError
from clustercockpit.settings import Settings
from clustercockpit.storage import aws as clients
from clustercockpit.storage.objects import ObjectStore
from clustercockpit.storage.s3 import S3ObjectStore

NOW = 1_700_000_000
CATALOG = StaticCatalog({"*": {"m": MetricDefinition("m", 60, "sum")}})


class Store:
    """Engine, checkpoints and log as the service puts them together."""

    def __init__(self, objects: ObjectStore) -> None:
        self.engine = Engine(CATALOG, lambda: float(NOW))
        self.checkpointer = Checkpointer(self.engine, objects)
        self.checkpointer.take_over()
        self.log = SegmentLog(ObjectSegments(objects, "checkpoints/0/log"), interval=0.01)
        manifest = self.checkpointer.manifest
        self.log.open(manifest.epoch, manifest.positions.get("log"))
        self.checkpointer.restore()
        for entry in self.log.replay(manifest.positions.get("log")):
            self.engine.write(entry.payload, entry.cluster, arrival=entry.arrival)

    def write(self, minute: int, value: int) -> None:
        payload = f"m,hostname=h value={value} {NOW - 6000 + 60 * minute}\n".encode()
        self.engine.write(payload, "c")
        asyncio.run(self.log.durable(self.log.append(LoggedWrite(payload, "c", NOW))))

    def checkpoint(self) -> None:
        self.checkpointer.write(lambda: {"log": self.log.position()})
        self.log.forget(self.checkpointer.manifest.positions["log"])

    def values(self) -> list[float]:
        found: list[float] = []
        for _, block in self.engine.blocks():
            for window in list(block.patches):
                self.engine.store.merge_patches(block, window)
            for window in block.windows():
                held = (
                    block.open[window]
                    if window in block.open
                    else self.engine.store.decode(block, block.sealed[window])
                )
                found += [float(v) for v in held[0] if v == v]
        return found


@pytest.fixture
def objects(aws: None) -> ObjectStore:
    client = clients.client(Settings(aws_region="eu-central-1"), "s3")
    client.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return S3ObjectStore("data", client)


def test_checkpoint_and_log_together_are_the_store(objects: ObjectStore) -> None:
    first = Store(objects)
    for minute in range(5):
        first.write(minute, minute)
    first.checkpoint()
    first.write(4, 40)
    first.write(5, 5)
    second = Store(objects)  # the first has crashed
    assert second.values() == [0, 1, 2, 3, 40, 5]
    assert second.log.counters.replayed == 2
    second.checkpoint()
    third = Store(objects)
    assert third.values() == [0, 1, 2, 3, 40, 5]
    assert third.log.counters.replayed == 0
    for store in (first, second, third):
        store.log.close()


def test_the_one_that_was_taken_over_acknowledges_nothing_more(objects: ObjectStore) -> None:
    first = Store(objects)
    first.write(0, 1)
    second = Store(objects)
    with pytest.raises(UnavailableError):
        first.write(1, 2)
    with pytest.raises(OwnershipLostError):
        first.checkpoint()
    second.write(1, 3)
    second.checkpoint()
    assert Store(objects).values() == [1, 3]
    for store in (first, second):
        store.log.close()
