"""The keys of the local stack: generated once under var, in the `.env` spelling of an installation."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMES = ("JWT_PUBLIC_KEY", "JWT_PRIVATE_KEY", "SESSION_KEY")


def local_keys(file: Path) -> dict[str, str]:
    """Read the keys, or make them: an Ed25519 pair (32 and 64 bytes, base64) and 32 random bytes."""
    if file.is_file():
        found = dict(
            line.split("=", 1) for line in file.read_text().splitlines() if "=" in line and line[0] != "#"
        )
        keys = {name: found[name].strip('"') for name in NAMES if found.get(name)}
        if len(keys) == len(NAMES):
            return keys
    private = Ed25519PrivateKey.generate()
    raw = serialization.Encoding.Raw
    seed = private.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    public = private.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    keys = {
        "JWT_PUBLIC_KEY": base64.b64encode(public).decode(),
        "JWT_PRIVATE_KEY": base64.b64encode(seed + public).decode(),
        "SESSION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f'{name}="{value}"\n' for name, value in keys.items())
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(
            "# Keys of the local stack, made once. Not for an installation that others use.\n" + content
        )
    file.chmod(0o600)
    return keys
