"""The browser application's files, and its shell at every address the reference's pages have.

The application is one page: each known address answers with the same shell, which then asks `/frontend/me`
who is there and draws the view (or the log-in form). Links in mails and wikis therefore keep working, also
those of views that do not exist here yet: the shell explains what to use instead. The shell holds no data,
so it needs no log-in.

Files come from `Settings.web_root` (the output of `npm run build`), are read once, and are looked up by
exact name: no part of a request ever becomes a path on disk.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from clustercockpit.http.answers import not_found_answer
from clustercockpit.http.door import guarded_router

if TYPE_CHECKING:
    from clustercockpit.site import Site

# A path segment as a page address may hold it: anything but a slash.
_SEGMENT = r"[^/]+"

# Views the application draws.
_PRESENT = (
    "",
    "login",
    "search",
    "monitoring/jobs",
    r"monitoring/job/\d+",
    f"monitoring/user/{_SEGMENT}",
    rf"job/{_SEGMENT}/\d+",
)
# Pages of the reference the application explains: what it was, what to use instead.
_EXPLAINED = (
    "config",
    "imprint",
    "privacy",
    "oidc-login",
    "jwt-login",
    "monitoring/users",
    "monitoring/projects",
    "monitoring/tags",
    f"monitoring/systems/{_SEGMENT}",
    f"monitoring/systems/list/{_SEGMENT}(/{_SEGMENT})?",
    f"monitoring/node/{_SEGMENT}/{_SEGMENT}",
    f"monitoring/analysis/{_SEGMENT}",
    f"monitoring/status/{_SEGMENT}",
    f"monitoring/status/detail/{_SEGMENT}",
    f"monitoring/dashboard/{_SEGMENT}",
    "monitoring/logs",
)
_PAGE = re.compile("|".join(f"(?:{pattern})" for pattern in _PRESENT + _EXPLAINED))

# Below these, an unknown address is a program's mistake and is answered in its language.
_PROGRAMS = ("api/", "userapi/", "frontend/", "config/", "query/")

_SHELL = "index.html"
_HASHED = "assets/"  # Vite puts the content's hash into the names of everything below


def is_page(path: str) -> bool:
    """True if `path` (without leading slash, with or without trailing one) is a page's address."""
    return _PAGE.fullmatch(path.removesuffix("/")) is not None


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    gzip: bytes | None  # made by the build; None where it saves nothing
    media_type: str
    etag: str


class BrowserFiles:
    """The built application in memory (some hundred kilobytes)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, _File] = {}
        self._built: int | None = None

    def get(self, name: str) -> _File | None:
        """The file of that exact name relative to the root, None where there is none."""
        self._refresh()
        return self._files.get(name)

    def _refresh(self) -> None:
        """Read the files again after a build, which always writes the shell anew."""
        try:
            built = (self._root / _SHELL).stat().st_mtime_ns
        except OSError:
            self._files, self._built = {}, None
            return
        if built == self._built:
            return
        self._files = {
            path.relative_to(self._root).as_posix(): _read(path)
            for path in self._root.rglob("*")
            if path.is_file() and path.suffix != ".gz"
        }
        self._built = built


def _read(path: Path) -> _File:
    body = path.read_bytes()
    packed = path.with_name(path.name + ".gz")
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if media_type.startswith("text/") or media_type == "application/javascript":
        media_type += "; charset=utf-8"
    return _File(
        body=body,
        gzip=packed.read_bytes() if packed.is_file() else None,
        media_type=media_type,
        etag=f'"{hashlib.sha256(body).hexdigest()[:20]}"',
    )


def _answer(request: Request, file: _File, *, status: int = 200, immutable: bool = False) -> Response:
    headers = {
        "cache-control": "public, max-age=31536000, immutable" if immutable else "no-cache",
        "etag": file.etag,
        "vary": "accept-encoding",
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if status == 200 and file.etag in known:
        return Response(status_code=304, headers=headers)
    body = file.body
    if file.gzip is not None and _accepts_gzip(request.headers.get("accept-encoding", "")):
        body = file.gzip
        headers["content-encoding"] = "gzip"
    return Response(body, status_code=status, headers=headers, media_type=file.media_type)


def _accepts_gzip(header: str) -> bool:
    for part in header.split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return re.fullmatch(r"q=0(\.0*)?", parameters.strip()) is None
    return False


def pages_router(site: Site) -> APIRouter:
    """Every address that no other router answers: mount it last."""
    router = guarded_router("public")
    root = site.settings.web_root
    files = BrowserFiles(Path(root)) if root else None

    @router.api_route("/{path:path}", methods=["GET", "HEAD"])
    def page_or_file(path: str, request: Request) -> Response:
        known = is_page(path)
        if path.startswith(_PROGRAMS) and not known:
            return not_found_answer(request.url.path)
        if files is not None and path != _SHELL and (file := files.get(path)) is not None:
            return _answer(request, file, immutable=path.startswith(_HASHED))
        shell = files.get(_SHELL) if files is not None else None
        # A missing script answered with a page would be read as a broken script.
        if shell is None or path.startswith(_HASHED):
            if known:
                return PlainTextResponse(
                    "The browser application is not built. Run `npm ci && npm run build` in `web/` and point "
                    "CC_WEB_ROOT at `web/dist`. The programming interfaces work without it.\n",
                    503,
                )
            return PlainTextResponse("Not found\n", 404)
        return _answer(request, shell, status=200 if known else 404)

    return router
