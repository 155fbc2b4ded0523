"""Keys, tokens and sessions for tests of everything behind the door."""

from __future__ import annotations

from typing import Any

from clustercockpit.access.keys import fresh_keys, private_key
from clustercockpit.access.model import Role, User
from clustercockpit.access.tokens import TokenSigner
from clustercockpit.settings import Settings

KEYS = fresh_keys()
SIGNER = TokenSigner(private_key("JWT_PRIVATE_KEY", KEYS.private), 3600)


def settings_with_keys(**more: Any) -> Settings:
    """Settings with key material that `bearer` signs for."""
    return Settings(
        jwt_public_key=KEYS.public, jwt_private_key=KEYS.private, session_key=KEYS.session, **more
    )


def bearer(*roles: str, username: str = "tester") -> dict[str, str]:
    """The header of a request by someone with these roles."""
    token = SIGNER.issue(User(username, frozenset(Role(role) for role in roles)))
    return {"Authorization": f"Bearer {token}"}
