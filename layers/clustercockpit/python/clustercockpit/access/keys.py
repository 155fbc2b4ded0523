"""Key material: the encodings an existing installation's `.env` uses, checked before anything trusts them."""

from __future__ import annotations

import base64
import binascii
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clustercockpit.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from clustercockpit.settings import Settings

log = logging.getLogger(__name__)

MIN_SESSION_KEY = 16
GOOD_SESSION_KEY = 32

# Keys everybody knows: the reference wrote the same ones into every installation.
DEMONSTRATION_KEYS = frozenset(
    {
        "kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0=",
        "dtPC/6dWJFKZK7KZ78CvWuynylOmjBFyMsUWArwmodOTN9itjL5POlqdZkcnmpJ0yPm4pRaCrvgFaFAbpyik/Q==",
        "67d829bf61dc5f87a73fd814e2c9f629",
    }
)


def _raw(variable: str, text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{variable} is not standard base64 with padding") from None


def public_key(variable: str, text: str) -> Ed25519PublicKey:
    """An Ed25519 public key: base64 of its 32 raw bytes, or PEM. ConfigurationError names the variable."""
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if text.lstrip().startswith("-----BEGIN"):
        try:
            key = load_pem_public_key(text.encode())
        except ValueError:
            raise ConfigurationError(f"{variable} is not a PEM public key") from None
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise ConfigurationError(f"{variable} is a PEM key of another kind than Ed25519")
        return key
    raw = _raw(variable, text)
    if len(raw) != 32:
        raise ConfigurationError(
            f"{variable} holds {len(raw)} bytes; an Ed25519 public key has 32 (44 base64 characters)"
        )
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


def private_key(variable: str, text: str) -> Ed25519PrivateKey:
    """An Ed25519 private key: base64 of 64 bytes (seed and public key), of the 32-byte seed, or PEM."""
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if text.lstrip().startswith("-----BEGIN"):
        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError):
            raise ConfigurationError(f"{variable} is not an unencrypted PEM private key") from None
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise ConfigurationError(f"{variable} is a PEM key of another kind than Ed25519")
        return key
    raw = _raw(variable, text)
    if len(raw) not in (32, 64):
        raise ConfigurationError(
            f"{variable} holds {len(raw)} bytes; an Ed25519 private key has 64 (seed and public key, "
            "88 base64 characters) or 32 (seed)"
        )
    loaded = ed25519.Ed25519PrivateKey.from_private_bytes(raw[:32])
    if len(raw) == 64 and loaded.public_key().public_bytes_raw() != raw[32:]:
        raise ConfigurationError(f"{variable}: its second half is not the public key of its first")
    return loaded


def matching(private: Ed25519PrivateKey, public: Ed25519PublicKey) -> bool:
    return private.public_key().public_bytes_raw() == public.public_bytes_raw()


def session_keys(text: str) -> tuple[bytes, ...]:
    """The keys of SESSION_KEY: base64, several separated by commas, newest first: it signs, all verify.

    Raises ConfigurationError for an empty, undecodable or short key.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if not any(entries):
        raise ConfigurationError(
            "SESSION_KEY is empty: login cookies cannot be signed. Generate one with: openssl rand -base64 32"
        )
    keys = []
    for entry in entries:
        raw = _raw("SESSION_KEY", entry)
        if len(raw) < MIN_SESSION_KEY:
            raise ConfigurationError(
                f"SESSION_KEY decodes to {len(raw)} bytes; at least {MIN_SESSION_KEY} are needed, "
                f"{GOOD_SESSION_KEY} are good: openssl rand -base64 32"
            )
        keys.append(raw)
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class FreshKeys:
    """New key material, encoded for `.env`."""

    public: str
    private: str
    session: str


def fresh_keys() -> FreshKeys:
    import secrets

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return FreshKeys(
        public=base64.b64encode(public).decode(),
        private=base64.b64encode(key.private_bytes_raw() + public).decode(),
        session=base64.b64encode(secrets.token_bytes(GOOD_SESSION_KEY)).decode(),
    )


def public_key_from_pem(pem: str) -> str:
    """The `.env` form of a PEM public key."""
    if not re.search("-----BEGIN", pem):
        raise ConfigurationError("this is no PEM text: it has no BEGIN line")
    return base64.b64encode(public_key("the PEM text", pem).public_bytes_raw()).decode()


def check_keys(settings: Settings) -> None:
    """Check all key material of the settings. ConfigurationError names the variable and the remedy.

    Keys that everybody knows are refused against AWS itself and logged elsewhere.
    """
    if not settings.jwt_public_key:
        raise ConfigurationError(
            "JWT_PUBLIC_KEY is empty: no token can be checked. `cc-backend -init` writes a fresh pair of keys"
        )
    public = public_key("JWT_PUBLIC_KEY", settings.jwt_public_key)
    if settings.jwt_private_key and not matching(
        private_key("JWT_PRIVATE_KEY", settings.jwt_private_key), public
    ):
        raise ConfigurationError("JWT_PRIVATE_KEY does not belong to JWT_PUBLIC_KEY")
    for raw in session_keys(settings.session_key):
        if len(raw) < GOOD_SESSION_KEY:
            log.warning("SESSION_KEY has %d bytes; %d are better", len(raw), GOOD_SESSION_KEY)
    known = [
        variable
        for variable, text in (
            ("JWT_PUBLIC_KEY", settings.jwt_public_key),
            ("JWT_PRIVATE_KEY", settings.jwt_private_key),
            ("SESSION_KEY", settings.session_key),
        )
        if text in DEMONSTRATION_KEYS
    ]
    if known:
        message = f"{', '.join(known)}: a demonstration key that everybody knows; make fresh ones"
        if not settings.aws_endpoint_url and "/" not in settings.archive_bucket:
            raise ConfigurationError(message)
        log.warning("%s", message)
