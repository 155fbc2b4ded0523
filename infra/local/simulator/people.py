"""Who computes on the demo site: users, their projects, and what each tends to run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PROJECTS = {
    "p101": ("iris", "jonas", "mirela"),
    "p102": ("soren", "tamsin"),
    "p203": ("oluwa", "petra", "quentin"),
    "p204": ("rahel", "sandro"),
    "p305": ("ulla", "viktor", "wanda"),
}


@dataclass(frozen=True)
class Person:
    user: str
    project: str


def population(demo_users: Iterable[str] = ()) -> tuple[Person, ...]:
    """The site's people. `demo_users` are accounts one can log in with: they compute too, so that someone
    who logs in as one of them has jobs of their own to look at."""
    people = [Person(user, project) for project, users in PROJECTS.items() for user in users]
    known = {person.user for person in people}
    projects = tuple(PROJECTS)
    for number, user in enumerate(u for u in dict.fromkeys(demo_users) if u not in known):
        # Twice, so that they are met often enough on a small site.
        people += [Person(user, projects[number % len(projects)])] * 2
    return tuple(people)
