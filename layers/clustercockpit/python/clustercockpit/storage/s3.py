"""An object store in an S3 bucket, or a server that speaks S3."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clustercockpit.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from clustercockpit.storage.keys import checked_key, checked_prefix
from clustercockpit.storage.objects import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_log = logging.getLogger(__name__)


class S3ObjectStore:
    """ObjectStore over a whole bucket. `client` may be shared between threads."""

    def __init__(self, bucket: str, client: S3Client) -> None:
        if not bucket:
            raise ConfigurationError("no bucket is named: set CC_ARCHIVE_BUCKET and CC_DATA_BUCKET")
        self._bucket = bucket
        self._client = client

    def get(self, key: str) -> tuple[bytes, str]:
        with self._errors(checked_key(key)):
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            return answer["Body"].read(), _bare(answer["ETag"])

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise InvalidInputError(f"byte range {start}+{length} is not one")
        with self._errors(checked_key(key)):
            if length == 0:
                self._client.head_object(Bucket=self._bucket, Key=key)
                return b""
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=key, Range=f"bytes={start}-{start + length - 1}"
                )
            except self._client.exceptions.ClientError as error:
                if _code(error) in ("InvalidRange", "416"):
                    return b""
                raise
            return answer["Body"].read()

    def head(self, key: str) -> StoredObject | None:
        try:
            with self._errors(checked_key(key)):
                answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except NotFoundError:
            return None
        return StoredObject(
            key=key,
            size=answer["ContentLength"],
            etag=_bare(answer["ETag"]),
            modified=answer["LastModified"].timestamp(),
        )

    def put(
        self,
        key: str,
        content: bytes,
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        content_type: str = "application/octet-stream",
    ) -> str:
        condition: dict[str, Any] = {}
        if if_match is not None:
            condition["IfMatch"] = f'"{if_match}"'
        if if_absent:
            condition["IfNoneMatch"] = "*"
        try:
            with self._errors(checked_key(key)):
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=content, ContentType=content_type, **condition
                )
        except NotFoundError:
            raise ConflictError(f"object {key!r} is not the version it was") from None
        return _bare(answer["ETag"])

    def link(self, key: str, *, seconds: int, content_type: str, content_encoding: str = "") -> str:
        """An address at which anyone who holds it can read the object for so many seconds."""
        headers = {"ResponseContentType": content_type, "ResponseContentEncoding": content_encoding}
        parameters = {"Bucket": self._bucket, "Key": checked_key(key)}
        parameters.update({name: value for name, value in headers.items() if value})
        return self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)

    def delete(self, key: str) -> None:
        with self._errors(checked_key(key)):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2")
        with self._errors(checked_prefix(prefix)):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield StoredObject(
                        key=item["Key"],
                        size=item["Size"],
                        etag=_bare(item["ETag"]),
                        modified=item["LastModified"].timestamp(),
                    )

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        checked_prefix(prefix)
        folder = prefix.removesuffix("/") + "/" if prefix else ""
        pages = self._client.get_paginator("list_objects_v2")
        with self._errors(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=folder, Delimiter="/"):
                for item in page.get("CommonPrefixes", []):
                    yield item["Prefix"].removeprefix(folder).removesuffix("/")

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Say in the domain's words what the service said."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = _code(error)
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code == "NoSuchBucket":
                raise ConfigurationError(f"the bucket {self._bucket!r} does not exist") from error
            if code in ("NoSuchKey", "NotFound", "404"):
                raise NotFoundError(f"no object {key!r}") from None
            if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise ConflictError(f"object {key!r} is not the version it was, or exists already") from None
            if code in ("AccessDenied", "403"):
                raise ConfigurationError(
                    f"no permission for {key!r} in bucket {self._bucket!r}: check the role's policy"
                ) from error
            if status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling"):
                raise UnavailableError("the object store does not answer now, try again") from error
            raise
        except BotoCoreError as error:
            # The error names the server: its keepers read that in the log
            _log.warning("the object store cannot be reached: %s", error)
            raise UnavailableError("the object store cannot be reached, try again") from None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _bare(etag: str) -> str:
    return etag.strip('"')
