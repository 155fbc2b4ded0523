from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.access.keys import (
    fresh_keys,
    matching,
    private_key,
    public_key,
    public_key_from_pem,
    session_keys,
)
from clustercockpit.access.model import AuthSource, Role, User
from clustercockpit.access.sessions import SessionCookies
from clustercockpit.access.tokens import TokenSigner, TokenVerifier
from clustercockpit.errors import ConfigurationError, NotAuthenticatedError, UnavailableError

# The demonstration pair the reference's `-init` writes, and a token made with it by other means than ours.
REFERENCE_PUBLIC = "kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0="
REFERENCE_PRIVATE = "dtPC/6dWJFKZK7KZ78CvWuynylOmjBFyMsUWArwmodOTN9itjL5POlqdZkcnmpJ0yPm4pRaCrvgFaFAbpyik/Q=="
SESSION_KEY = b"0123456789abcdef"


@dataclass
class Clock:
    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Epochs:
    counters: dict[str, int] = field(default_factory=dict)
    projects: dict[str, frozenset[str]] = field(default_factory=dict)
    asked: int = 0

    def epoch(self, username: str) -> int:
        self.asked += 1
        return self.counters.get(username, 0)

    def raise_epoch(self, username: str) -> int:
        self.counters[username] = self.counters.get(username, 0) + 1
        return self.counters[username]

    def keep_projects(self, username: str, projects: Sequence[str]) -> None:
        self.projects[username] = frozenset(projects)

    def kept_projects(self, username: str) -> frozenset[str]:
        return self.projects.get(username, frozenset())


def handmade(claims: str, key: Ed25519PrivateKey, header: str = '{"alg":"EdDSA","typ":"JWT"}') -> str:
    """A token put together by hand, in the bytes other libraries write."""

    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    signed = f"{part(header.encode())}.{part(claims.encode())}"
    return f"{signed}.{part(key.sign(signed.encode()))}"


def test_a_token_of_an_existing_installation_keeps_working() -> None:
    key = private_key("JWT_PRIVATE_KEY", REFERENCE_PRIVATE)
    public = public_key("JWT_PUBLIC_KEY", REFERENCE_PUBLIC)
    assert matching(key, public)
    token = handmade('{"exp":4102444800,"iat":1700000000,"roles":["admin","api"],"sub":"demo"}', key)
    verified = TokenVerifier(public).verify(token)
    assert verified.user.username == "demo"
    assert verified.user.roles == {Role.ADMIN, Role.API}
    assert verified.user.projects == frozenset()
    assert verified.user.source is AuthSource.TOKEN
    assert verified.expires == 4102444800


def test_issued_claims_are_the_references() -> None:
    clock = Clock()
    signer = TokenSigner(private_key("k", REFERENCE_PRIVATE), 7200, clock)
    user = User("alice", frozenset({Role.USER, Role.API}), frozenset({"p"}), "Alice")
    token = signer.issue(user)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.pop("jti")
    assert claims == {"sub": "alice", "roles": ["user", "api"], "iat": 1_700_000_000, "exp": 1_700_007_200}
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT"}
    unlimited = TokenSigner(private_key("k", REFERENCE_PRIVATE), None, clock).issue(user)
    assert "exp" not in jwt.decode(unlimited, options={"verify_signature": False})


def test_what_is_refused() -> None:
    key = private_key("k", REFERENCE_PRIVATE)
    verifier = TokenVerifier(public_key("k", REFERENCE_PUBLIC))
    good = handmade('{"sub":"a","roles":["api"]}', key)
    assert verifier.verify(good).expires is None
    other = private_key("k", fresh_keys().private)
    refused = {
        "expired": handmade('{"sub":"a","roles":["api"],"exp":1000000000}', key),
        "not valid yet": handmade('{"sub":"a","roles":["api"],"nbf":4102444800}', key),
        "signature": handmade('{"sub":"a","roles":["api"]}', other),
        "'sub'": handmade('{"roles":["api"]}', key),
        "EdDSA": jwt.encode({"sub": "a", "roles": ["api"]}, "k" * 64, algorithm="HS256"),
        "malformed": "abc",
        "too long": "a" * 20_000,
    }
    for message, token in refused.items():
        with pytest.raises(NotAuthenticatedError, match=message):
            verifier.verify(token)
    none = jwt.encode({"sub": "a", "roles": ["admin"]}, None, algorithm="none")  # type: ignore[arg-type]
    with pytest.raises(NotAuthenticatedError):
        verifier.verify(none)
    for claims in (
        '{"sub":5}',
        '{"sub":""}',
        '{"sub":["a"]}',
        '{"sub":null}',
        "[1]",
        '{"sub":"a","exp":"x"}',
    ):
        with pytest.raises(NotAuthenticatedError):
            verifier.verify(handmade(claims, key))
    # Odd roles grant nothing and break nothing.
    for roles in ("null", '"admin"', '{"admin":true}', "[1,null,{}]"):
        assert verifier.verify(handmade('{"sub":"a","roles":' + roles + "}", key)).user.roles == frozenset()


def test_without_a_key_nothing_verifies() -> None:
    with pytest.raises(UnavailableError, match="JWT_PUBLIC_KEY"):
        TokenVerifier(None).verify("a.b.c")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.lists(st.text("ABCabc123-_=", max_size=12), max_size=4).map(".".join))
def test_no_text_crashes_the_verifier(text: str) -> None:
    with pytest.raises(NotAuthenticatedError):
        TokenVerifier(public_key("k", REFERENCE_PUBLIC)).verify(text)


def test_key_encodings() -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public_pem = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    seed = base64.b64encode(key.private_bytes_raw()).decode()
    for text in (pem, seed):
        assert matching(private_key("JWT_PRIVATE_KEY", text), public_key("JWT_PUBLIC_KEY", public_pem))
    assert len(public_key_from_pem(public_pem)) == 44
    mixed = base64.b64encode(key.private_bytes_raw() + b"\0" * 32).decode()
    for bad in ("", "no base64!", base64.b64encode(b"short").decode(), mixed, "-----BEGIN nothing"):
        with pytest.raises(ConfigurationError, match="JWT_PRIVATE_KEY"):
            private_key("JWT_PRIVATE_KEY", bad)
    for bad in ("", "no base64!", base64.b64encode(b"short").decode(), "-----BEGIN nothing"):
        with pytest.raises(ConfigurationError, match="JWT_PUBLIC_KEY"):
            public_key("JWT_PUBLIC_KEY", bad)


def test_session_keys() -> None:
    # The sample of the reference decodes to 24 bytes, and must keep working.
    assert [len(key) for key in session_keys("67d829bf61dc5f87a73fd814e2c9f629")] == [24]
    new, old = fresh_keys().session, fresh_keys().session
    assert len(session_keys(f"{new}, {old}")) == 2
    for bad in ("", " , ", "abc", base64.b64encode(b"short").decode(), f"{new},"):
        with pytest.raises(ConfigurationError, match="SESSION_KEY"):
            session_keys(bad)


USER = User("alice", frozenset({Role.MANAGER}), frozenset({"p1", "p2"}), "Alice", source=AuthSource.LDAP)


def test_a_session_carries_its_user() -> None:
    cookies = SessionCookies([SESSION_KEY], 3600, Epochs(), Clock())
    session = cookies.read(cookies.start(USER))
    assert session is not None
    assert session.user == USER
    assert session.expires == session.issued + 3600


def test_a_session_ends_on_the_server() -> None:
    clock = Clock()
    value = SessionCookies([SESSION_KEY], 3600, Epochs(), clock).start(USER)
    clock.now += 3599
    assert SessionCookies([SESSION_KEY], 3600, Epochs(), clock).read(value)
    clock.now += 1
    assert SessionCookies([SESSION_KEY], 3600, Epochs(), clock).read(value) is None
    # A setting shortened later counts for the sessions there are.
    clock.now -= 1800
    assert SessionCookies([SESSION_KEY], 600, Epochs(), clock).read(value) is None
    unlimited = SessionCookies([SESSION_KEY], None, Epochs(), clock)
    value = unlimited.start(USER)
    clock.now += 10 * 365 * 86400
    assert unlimited.read(value)


def test_raising_the_epoch_ends_sessions_everywhere_within_a_minute() -> None:
    clock, epochs = Clock(), Epochs()
    here = SessionCookies([SESSION_KEY], 3600, epochs, clock)
    elsewhere = SessionCookies([SESSION_KEY], 3600, epochs, clock)
    value = here.start(USER)
    assert here.read(value)
    assert elsewhere.read(value)
    here.revoke("alice")
    assert here.read(value) is None
    assert elsewhere.read(value), "cached: the price of not asking on every request"
    clock.now += 61
    assert elsewhere.read(value) is None
    assert elsewhere.read(elsewhere.start(USER)), "a new login works at once"


def test_the_epoch_is_asked_once_a_minute() -> None:
    clock, epochs = Clock(), Epochs()
    cookies = SessionCookies([SESSION_KEY], 3600, epochs, clock)
    value = cookies.start(USER)
    epochs.asked = 0
    for _ in range(50):
        cookies.read(value)
    assert epochs.asked == 1


def test_key_rotation() -> None:
    old, new = b"o" * 32, b"n" * 32
    value = SessionCookies([old], 3600, Epochs(), Clock()).start(USER)
    rotated = SessionCookies([new, old], 3600, Epochs(), Clock())
    assert rotated.read(value)
    assert SessionCookies([new], 3600, Epochs(), Clock()).read(rotated.start(USER)), "the newest key signs"
    assert SessionCookies([new], 3600, Epochs(), Clock()).read(value) is None


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=100))
def test_a_foreign_cookie_is_no_session(value: str) -> None:
    assert SessionCookies([SESSION_KEY], 3600, Epochs(), Clock()).read(value) is None


def test_tampering_is_no_session() -> None:
    cookies = SessionCookies([SESSION_KEY], 3600, Epochs(), Clock())
    value = cookies.start(USER)
    for i in range(0, len(value) - 1, 3):
        changed = value[:i] + ("A" if value[i] != "A" else "B") + value[i + 1 :]
        assert cookies.read(changed) is None, i


def test_a_user_without_roles_has_no_session() -> None:
    cookies = SessionCookies([SESSION_KEY], 3600, Epochs(), Clock())
    assert cookies.read(cookies.start(User("bob"))) is None


def test_many_projects_are_kept_aside() -> None:
    epochs = Epochs()
    cookies = SessionCookies([SESSION_KEY], 3600, epochs, Clock())
    import hashlib

    projects = frozenset(hashlib.sha256(str(i).encode()).hexdigest() for i in range(200))
    value = cookies.start(User("alice", frozenset({Role.MANAGER}), projects))
    assert len(value) < 4096
    session = cookies.read(value)
    assert session is not None
    assert session.user.projects == projects
