"""Aliases and tags follow from the decision log, whoever asks and however often.

A decision is made when its entry is in the log; what remains is a fixed order of requests, each of which may
be repeated. A process that dies between two of them leaves the old or the new champion, and the next command
finishes the rest.
"""

from typing import NamedTuple

from pipelines.model.versions import CANDIDATE
from pipelines.review import decisions
from pipelines.review.decisions import PROD, Decision, Log
from pipelines.review.registry import CHAMPION, PREVIOUS, Registry

STATUS = {"promote": "promoted", "reject": "rejected", "rollback": "promoted"}


class State(NamedTuple):
    """Where the log and the registry differ."""

    undone: tuple[Decision, ...]
    """Decisions whose last request is missing."""
    moved: dict[str, tuple[int | None, int | None]]
    """Alias -> (version that bears it, version that the log gives it)."""

    @property
    def is_settled(self) -> bool:
        return not self.undone and not self.moved

    def lines(self) -> list[str]:
        """For people."""
        said = [f"decision {entry.number} was not carried out to its end" for entry in self.undone]
        for alias, (found, wanted) in self.moved.items():
            said.append(f"@{alias} is on {_version(found)}; by the log it belongs on {_version(wanted)}")
        return said


def compare(registry: Registry, name: str, log: Log) -> State:
    """Hold the registry against the log."""
    if log.last is None:
        return State((), {})
    tagged = {int(version.version): set(version.tags) for version in registry.versions(name)}
    undone = tuple(e for e in log.entries if e.version in tagged and _tag(e) not in tagged[e.version])
    moved = _moved(registry, name, log.last.champion, log.last.previous)
    if log.enforced:
        served = _served(registry, name)
        if served != log.last.champion:
            moved[f"{PROD}@{CHAMPION}"] = (served, log.last.champion)
    return State(undone, moved)


def settle(registry: Registry, name: str) -> tuple[Log, list[str]]:
    """Bring aliases and tags to what the log says; returns the log and what had to be done, in words."""
    said: list[str] = []
    while True:
        log = decisions.read(registry, name)
        state = compare(registry, name, log)
        if log.last is None or state.is_settled:
            return log, said
        said += state.lines()
        _carry_out(registry, name, log, log.last, state.undone)
        if decisions.read(registry, name).last == log.last:  # else somebody decided meanwhile: theirs comes last
            return log, said


def _carry_out(registry: Registry, name: str, log: Log, last: Decision, undone: tuple[Decision, ...]) -> None:
    client = registry.client
    if log.enforced and last.champion:  # first what is served from
        champion, previous = (_copy(registry, name, version) for version in (last.champion, last.previous))
        _point(registry, name + PROD, champion, previous)
    _point(registry, name, last.champion, last.previous)
    for entry in undone:
        candidate = registry.champion(name, CANDIDATE)
        with registry.asked():
            if candidate == entry.version and entry.kind != "rollback":
                client.delete_registered_model_alias(name, CANDIDATE)
            client.set_model_version_tag(name, str(entry.version), "review.status", STATUS[entry.kind])
            client.set_model_version_tag(name, str(entry.version), "review.decided", f"{entry.by}, {entry.time}")
    if undone:
        decisions.tell(registry, name, log)
    for entry in undone:  # last: says that all of it is done
        with registry.asked():
            client.set_model_version_tag(name, str(entry.version), _tag(entry), entry.model_dump_json())


def _moved(
    registry: Registry, model: str, champion: int | None, previous: int | None
) -> dict[str, tuple[int | None, int | None]]:
    aliases = registry.model(model).aliases
    wanted = {CHAMPION: champion, PREVIOUS: previous}
    found = {alias: int(aliases[alias]) if alias in aliases else None for alias in wanted}
    return {alias: (found[alias], wanted[alias]) for alias in wanted if found[alias] != wanted[alias]}


def _point(registry: Registry, model: str, champion: int | None, previous: int | None) -> None:
    """Move what is not there yet, the champion last: at each moment there is one, the old or the new."""
    moved = _moved(registry, model, champion, previous)
    with registry.asked():
        for alias in (PREVIOUS, CHAMPION):
            if alias not in moved:
                continue
            if (version := moved[alias][1]) is None:
                registry.client.delete_registered_model_alias(model, alias)
            else:
                registry.client.set_registered_model_alias(model, alias, str(version))


def _served(registry: Registry, name: str) -> int | None:
    """The version of NAME that the champion of NAME-prod is a copy of; None: there is no champion."""
    champion = registry.champion(name + PROD)
    sources = {int(version.version): str(version.source) for version in registry.versions(name + PROD)}
    return int(sources[champion].rpartition("/")[2]) if champion in sources else None


def _copy(registry: Registry, name: str, version: int | None) -> int | None:
    """The number in NAME-prod of a version, copied there if it is not."""
    if version is None:
        return None
    source = f"models:/{name}/{version}"
    for each in registry.versions(name + PROD):
        if each.source == source:
            return int(each.version)
    with registry.asked():
        return int(registry.client.copy_model_version(source, name + PROD).version)


def _tag(entry: Decision) -> str:
    return f"review.decision.{entry.number:04d}"


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
