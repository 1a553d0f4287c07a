"""Which code and machine each attempt at a run had, as tags and files of its MLflow run.

Those of the first attempt have plain names: `git.commit`, `uncommitted.patch`, `environment.json`. An attempt that
differs from the one before it adds its own beside them, with a number: `git.commit.2`, `uncommitted.2.patch`.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from pipelines.config import secret
from pipelines.config.flat import fingerprint
from pipelines.tracking import provenance
from pipelines.tracking.provenance import Commit

LAST = "selfray.code"
"""Tag: tells the latest recorded attempt from others."""
_DIRTY = "git.dirty"


class Attempt(NamedTuple):
    """What runs now."""

    commit: Commit
    """Its patch without secrets."""
    environment: str
    """JSON."""

    @property
    def key(self) -> str:
        return fingerprint([list(self.commit), self.environment])

    def tags(self, number: int) -> dict[str, str]:
        """For the run, as its attempt of that number."""
        made = {LAST: self.key, tag(_DIRTY, number): str(self.commit.dirty).lower()}
        if self.commit.commit:
            made |= {tag("git.commit", number): self.commit.commit, tag("git.branch", number): self.commit.branch}
        return made

    def files(self, number: int) -> dict[str, str]:
        """Name -> text, for the run's artifacts."""
        made = {file("environment.json", number): self.environment}
        return made | ({file("uncommitted.patch", number): self.commit.patch} if self.commit.patch else {})


def now() -> Attempt:
    commit = provenance.commit()
    shown = commit._replace(patch=secret.masked(commit.patch))
    return Attempt(shown, json.dumps(provenance.environment(), indent=2))


def numbers(tags: Mapping[str, str]) -> list[int]:
    """Of the attempts that a run's tags tell of, from 1 on."""
    later = (key.removeprefix(f"{_DIRTY}.") for key in tags if key.startswith(f"{_DIRTY}."))
    return [1, *sorted(int(number) for number in later if number.isdecimal())]


def number_of(attempt: Attempt, tags: Mapping[str, str]) -> int:
    """The number of an attempt at a run with these tags: the latest one's if it had the same code and machine."""
    latest = numbers(tags)[-1]
    return latest if tags.get(LAST) == attempt.key else latest + 1


def tag(name: str, number: int) -> str:
    return name if number == 1 else f"{name}.{number}"


def file(name: str, number: int) -> str:
    stem, _, suffix = name.rpartition(".")
    return name if number == 1 else f"{stem}.{number}.{suffix}"
