"""The job archive in an object store: the reference's layout, so that either reads what the other wrote.

`spec/job-archive.md` chapters 2, 5 and 6. The data object is written before the meta object, and a job is in
the archive when its `meta.json` is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from clustercockpit.archive import documents
from clustercockpit.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError
from clustercockpit.jobs.model import Job
from clustercockpit.metrics.model import JobData
from clustercockpit.storage.objects import ObjectStore

VERSION = 3
_VERSION_KEY = "version.txt"
_CLUSTER_DOCUMENT = "cluster.json"
# A cluster is a folder: no separators, nothing hidden, nothing that a shell or a URL would read otherwise.
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_META_KEY = re.compile(r"(?P<cluster>[^/]+)/(?P<high>[0-9]+)/(?P<low>[0-9]{3})/(?P<start>[0-9]+)/meta\.json")
_READERS = 16


@dataclass(frozen=True, slots=True, order=True)
class JobIdentity:
    """What names a job in the archive, newest last when sorted."""

    start_time: int
    cluster: str
    job_id: int

    @property
    def folder(self) -> str:
        """Key prefix of the job's objects, with slash. InvalidInputError if it names no job."""
        if self.job_id < 0 or self.start_time <= 0 or not _CLUSTER_NAME.fullmatch(self.cluster):
            raise InvalidInputError(
                f"no archived job can have cluster {self.cluster[:80]!r}, jobId {self.job_id} and"
                f" startTime {self.start_time}"
            )
        return f"{self.cluster}/{self.job_id // 1000}/{self.job_id % 1000:03}/{self.start_time}/"

    @classmethod
    def of(cls, job: Job) -> JobIdentity:
        return cls(job.start_time, job.cluster, job.job_id)


class ObjectJobArchive:
    """JobArchive over any ObjectStore: a bucket or a directory."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._version_checked = False

    # The archive as a whole

    def open(self) -> None:
        """Check that this is an archive of our version; make an empty place one.

        ConfigurationError where it holds another version, or things but no `version.txt`.
        """
        if self._version_checked:
            return
        try:
            self.check()
        except NotFoundError:
            self._begin()
        self._version_checked = True

    def check(self) -> None:
        """Only check. NotFoundError where there is no `version.txt`, ConfigurationError if it is not ours."""
        content, _ = self._objects.get(_VERSION_KEY)
        text = content.decode("ascii", "replace").removesuffix("\n")
        if not text.isdecimal():
            raise ConfigurationError("job archive: version.txt does not hold a number")
        if int(text) != VERSION:
            raise ConfigurationError(
                f"job archive: version is {int(text)}, {VERSION} is required; migrate it with"
                " archive-migration first"
            )

    def _begin(self) -> None:
        for item in self._objects.list():
            if not item.key.startswith("."):
                name = item.key.split("/")[0]
                raise ConfigurationError(
                    f"job archive: version.txt is missing, yet there is {name!r}; if this is an archive of"
                    f" version {VERSION}, put a version.txt containing {VERSION} there"
                )
        with suppress(ConflictError):  # another process was first
            self._objects.put(_VERSION_KEY, b"%d\n" % VERSION, if_absent=True, content_type="text/plain")

    def cluster_names(self) -> Sequence[str]:
        """Folders with a `cluster.json`; what else lies there is no cluster."""
        return [
            name
            for name in self._objects.list_folders()
            if _CLUSTER_NAME.fullmatch(name) and self._objects.head(f"{name}/{_CLUSTER_DOCUMENT}")
        ]

    def read_cluster_document(self, cluster: str) -> tuple[bytes, str]:
        return self._objects.get(f"{_plain(cluster)}/{_CLUSTER_DOCUMENT}")

    def write_cluster_document(self, cluster: str, document: bytes) -> None:
        self.open()
        self._objects.put(f"{_plain(cluster)}/{_CLUSTER_DOCUMENT}", document, content_type="application/json")

    # One job

    def contains(self, job: Job) -> bool:
        return self._objects.head(f"{JobIdentity.of(job).folder}meta.json") is not None

    def write(self, job: Job, data: JobData) -> None:
        """Store both documents; afterwards the job reads as these, whatever was there before."""
        self._write(JobIdentity.of(job), documents.encode_meta(job), lambda: documents.encode_data(data))

    def copy(self, identity: JobIdentity, source: ObjectJobArchive) -> None:
        """Take over a job with its data as it is, not decoded. NotFoundError, InvalidInputError (damaged)."""
        meta, _ = source._objects.get(f"{identity.folder}meta.json")
        self._write(identity, meta, lambda: source.read_data_document(identity))

    def _write(self, identity: JobIdentity, meta: bytes, data: Callable[[], bytes]) -> None:
        self.open()
        folder = identity.folder
        document = data()
        packed = len(document) > documents.PLAIN_LIMIT
        variants = [f"{folder}data.json", f"{folder}data.json.gz"]
        if packed:
            content = documents.compressed(document)
            self._objects.put(variants[1], content, content_type="application/gzip")
        else:
            self._objects.put(variants[0], document, content_type="application/json")
        # One left from an earlier writing would win, or lie around
        self._objects.delete(variants[0 if packed else 1])
        self._objects.put(f"{folder}meta.json", meta, content_type="application/json")

    def rewrite_meta(self, job: Job) -> bool:
        """Bring `meta.json` in step with the job, keeping archived statistics where the job carries none."""
        key = f"{JobIdentity.of(job).folder}meta.json"
        for _ in range(5):
            try:
                document, etag = self._objects.get(key)
            except NotFoundError:
                return False
            if job.statistics is None:
                job = replace(job, statistics=documents.decode_meta(document).statistics)
            try:
                self._objects.put(
                    key, documents.encode_meta(job), if_match=etag, content_type="application/json"
                )
            except ConflictError:
                continue
            return True
        raise ConflictError(f"job archive: {key} is being changed by others, try again")

    def read_meta(self, cluster: str, job_id: int, start_time: int) -> Job:
        return self.read_identity(JobIdentity(start_time, cluster, job_id))

    def read_identity(self, identity: JobIdentity) -> Job:
        """As `read_meta`."""
        key = f"{identity.folder}meta.json"
        document, _ = self._objects.get(key)
        try:
            job = documents.decode_meta(document)
        except InvalidInputError as error:
            raise InvalidInputError(f"{key}: {error}") from None
        if JobIdentity.of(job) != identity:
            raise InvalidInputError(f"{key}: the document is that of another job")
        return job

    def read_data(self, cluster: str, job_id: int, start_time: int) -> JobData:
        identity = JobIdentity(start_time, cluster, job_id)
        document = self.read_data_document(identity)
        try:
            return documents.decode_data(document)
        except InvalidInputError as error:
            raise InvalidInputError(f"{identity.folder}data.json: {error}") from None

    def read_data_document(self, identity: JobIdentity) -> bytes:
        """The text of the data document. NotFoundError; InvalidInputError if its compression is damaged."""
        folder = identity.folder
        try:
            content, _ = self._objects.get(f"{folder}data.json.gz")
        except NotFoundError:
            content, _ = self._objects.get(f"{folder}data.json")
            return content
        try:
            return documents.decompressed(content)
        except InvalidInputError as error:
            raise InvalidInputError(f"{folder}data.json.gz: {error}") from None

    def data_version(self, identity: JobIdentity) -> str:
        """Changes whenever the job is archived anew; for caches. NotFoundError."""
        found = self._objects.head(f"{identity.folder}data.json.gz") or self._objects.head(
            f"{identity.folder}data.json"
        )
        if found is None:
            raise NotFoundError(f"no archived data of job {identity.job_id} on {identity.cluster}")
        return found.etag

    # All jobs

    def identities(self, cluster: str | None = None) -> Iterator[JobIdentity]:
        """Of every archived job, from the keys alone, in no useful order. Strange keys are passed over."""
        for name in self.cluster_names() if cluster is None else [_plain(cluster)]:
            for item in self._objects.list(f"{name}/"):
                match = _META_KEY.fullmatch(item.key)
                if match:
                    identity = JobIdentity(
                        start_time=int(match["start"]),
                        cluster=match["cluster"],
                        job_id=int(match["high"]) * 1000 + int(match["low"]),
                    )
                    if item.key == f"{identity.folder}meta.json":
                        yield identity

    def jobs(self, cluster: str | None = None) -> Iterator[Job | Exception]:
        return self.read_many(self.identities(cluster))

    def read_many(self, identities: Iterable[JobIdentity]) -> Iterator[Job | Exception]:
        """The jobs in the order asked, several read at a time; a damaged one yields its error in place."""

        def read(identity: JobIdentity) -> Job | Exception:
            try:
                return self.read_identity(identity)
            except (InvalidInputError, NotFoundError) as error:
                return error

        return in_parallel(read, identities, _READERS)


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(call: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Results in the order of the items; never more than a few batches of them in memory."""
    with ThreadPoolExecutor(workers) as pool:
        iterator = iter(items)
        while batch := _take(iterator, workers * 8):
            yield from pool.map(call, batch)


def _take(iterator: Iterator[Item], count: int) -> list[Item]:
    return list(islice(iterator, count))


def _plain(cluster: str) -> str:
    if not _CLUSTER_NAME.fullmatch(cluster):
        raise InvalidInputError(f"{cluster[:80]!r} cannot be the name of a cluster")
    return cluster
