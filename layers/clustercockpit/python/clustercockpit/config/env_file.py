"""`.env`: where an installation keeps its secrets. What the environment already has, even empty, wins."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from clustercockpit.errors import ConfigurationError

_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z0-9_.]+)[ \t]*[=:][ \t]*")
_REFERENCE = re.compile(r"(\\)?\$(\{)?([A-Z0-9_]+)?(\})?")


def parse_env(text: str, environment: Mapping[str, str], file: str = ".env") -> dict[str, str]:
    """The variables of an `.env` file. `$NAME` and `${NAME}` look in earlier lines, then in `environment`.

    ConfigurationError names file and line, never the content.
    """
    text = text.replace("\r\n", "\n")
    variables: dict[str, str] = {}
    position = 0
    while position < len(text):
        rest = text[position:]
        blank = re.match(r"[ \t]*(?:#[^\n]*)?(?:\n|$)", rest)
        if blank is not None:
            position += max(blank.end(), 1)
            continue
        line = text.count("\n", 0, position) + 1
        start = _LINE.match(rest)
        if start is None:
            raise ConfigurationError(f"{file}, line {line}: expected NAME=value")
        position += start.end()
        value, length = _value(text[position:], {**environment, **variables}, f"{file}, line {line}")
        variables[start[1]] = value
        position += length
    return variables


def _value(rest: str, known: Mapping[str, str], where: str) -> tuple[str, int]:
    """The value at the start of `rest`, and how many characters it took."""
    quote = rest[:1]
    if quote not in ("'", '"'):
        line = rest.split("\n", 1)[0]
        raw = line if not line.startswith("#") else ""
        comment = re.search(r"\s#", raw)
        if comment is not None:
            raw = raw[: comment.start()]
        return _expanded(raw.strip(), known), len(line)
    end = 1
    while end < len(rest) and rest[end] != quote:
        end += 2 if quote == '"' and rest[end] == "\\" else 1
    if end >= len(rest):
        raise ConfigurationError(f"{where}: a value begins with {quote} and never ends")
    raw = rest[1:end]
    after = rest[end + 1 :].split("\n", 1)[0]
    if after.strip() and not after.lstrip().startswith("#"):
        raise ConfigurationError(f"{where}: something follows the closing {quote}")
    length = end + 1 + len(after)
    if quote == "'":
        return raw, length
    raw = raw.replace("\\n", "\n").replace("\\r", "\r")
    raw = re.sub(r"\\([^$])", r"\1", raw)
    return _expanded(raw, known), length


def _expanded(raw: str, known: Mapping[str, str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        return known.get(match[3], "") if match[3] else match[0]

    return _REFERENCE.sub(replaced, raw)


def load_env(environment: MutableMapping[str, str], folders: list[Path]) -> Path | None:
    """Fill the environment from the first `.env` in `folders`; returns its path. A missing file is fine."""
    for folder in folders:
        path = folder / ".env"
        try:
            text = path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}") from None
        for name, value in parse_env(text, environment, str(path)).items():
            environment.setdefault(name, value)
        return path
    return None
