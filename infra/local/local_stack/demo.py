"""What a demo site starts with: users of every role, and the demo clusters' documents."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from clustercockpit.access.model import Role, User
from clustercockpit.errors import ConflictError, NotFoundError
from clustercockpit.site import Site

PASSWORD = "demodemo"  # noqa: S105


@dataclass(frozen=True)
class DemoUser:
    username: str
    roles: tuple[str, ...]
    name: str
    project: str = ""
    password: str = PASSWORD


USERS = (
    DemoUser("admin", ("admin",), "Ada Ministrator"),
    DemoUser("support", ("support",), "Sam Upport"),
    DemoUser("manager", ("manager",), "Mara Nager", project="aerosol"),
    DemoUser("alice", ("user",), "Alice Moreau"),
    DemoUser("bob", ("user",), "Bob Okafor"),
    DemoUser("api", ("api",), "Scheduler and scripts"),
)


def add_users(site: Site) -> None:
    """Those that are missing; an account that is there stays as it is."""
    for user in USERS:
        if site.accounts.get(user.username) is not None:
            continue
        try:
            site.accounts.add(
                user.username,
                roles=frozenset(Role(role) for role in user.roles),
                password=user.password,
                name=user.name,
                project=user.project,
            )
        except ConflictError:
            continue


def users_for_scripts() -> list[dict[str, object]]:
    keys = ("username", "password", "roles")
    return [{key: value for key, value in asdict(user).items() if key in keys} for user in USERS]


def api_token(site: Site) -> str:
    return site.token_signer.issue(User("api", frozenset({Role.API})))


def install_clusters(site: Site) -> list[str]:
    """Put the demo clusters' documents into the archive where they are missing or differ; their names."""
    from simulator.clusters import documents

    for name, document in documents().items():
        try:
            kept = site.archive.read_cluster_document(name)[0]
        except NotFoundError:
            kept = b""
        if kept != document:
            site.archive.write_cluster_document(name, document)
    return sorted(documents())
