"""Which keys an object store accepts: one rule for buckets and directories."""

from __future__ import annotations

from clustercockpit.errors import InvalidInputError

# Names the directory store uses while it writes; no key may collide with them.
TEMPORARY_PREFIX = ".cc-tmp-"


def checked_key(key: str) -> str:
    """The key itself; InvalidInputError if it could leave the store's root or name nothing portable."""
    if not key or key.endswith("/"):
        raise InvalidInputError(f"object key {key[:80]!r} must name an object")
    _check_segments(key, key.split("/"))
    return key


def checked_prefix(prefix: str) -> str:
    """Like `checked_key`, but empty, partial and slash-terminated prefixes are fine."""
    if prefix:
        _check_segments(prefix, prefix.removesuffix("/").split("/"))
    return prefix


def _check_segments(key: str, segments: list[str]) -> None:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"object key {key[:80]!r} is not valid Unicode") from None
    if length > 1024:
        raise InvalidInputError(f"object key {key[:80]!r}… is longer than 1024 bytes")
    for segment in segments:
        if (
            segment in ("", ".", "..")
            or segment.startswith(TEMPORARY_PREFIX)
            or "\\" in segment
            or any(ord(character) < 32 or ord(character) == 127 for character in segment)
            or len(segment.encode()) > 255
        ):
            raise InvalidInputError(f"object key {key[:80]!r} has an invalid part {segment[:40]!r}")
