"""Aliases and tags follow from the decision log, whoever asks and however often.

A decision is made when its entry is in the log; what remains is a fixed order of requests, each of which may
be repeated. A process that dies between two of them leaves the old or the new champion, and the next command
finishes the rest.
"""

from collections.abc import Container, Mapping
from typing import NamedTuple

from pipelines.model.versions import CANDIDATE
from pipelines.registry import decisions
from pipelines.registry.decisions import PROD, Decision, Log
from pipelines.registry.registry import CHAMPION, PREVIOUS, Registry

STATUS = {"promote": "promoted", "reject": "rejected", "rollback": "promoted"}
ROLLED_BACK = "rolled back"


class State(NamedTuple):
    """Where the log and the registry differ."""

    undone: tuple[Decision, ...]
    """Decisions whose last request is missing."""
    moved: dict[str, tuple[int | None, int | None]]
    """Alias -> (version that bears it, version that the log gives it)."""
    gone: dict[str, int]
    """Alias -> the version that the log gives it, which was deleted: nothing can be done."""

    @property
    def is_settled(self) -> bool:
        return not self.undone and not self.moved

    def lines(self) -> list[str]:
        """What is to be done, for people."""
        said = [f"decision {entry.number} was not carried out to its end" for entry in self.undone]
        for alias, (found, wanted) in self.moved.items():
            said.append(f"@{alias} is on {_version(found)}; by the log it belongs on {_version(wanted)}")
        return said

    def losses(self) -> list[str]:
        """What cannot be done, for people."""
        return [f"version {number}, @{alias} by the log, was deleted" for alias, number in self.gone.items()]


def compare(registry: Registry, name: str, log: Log) -> State:
    """Hold the registry against the log."""
    if log.last is None:
        return State((), {}, {})
    tags = {int(version.version): version.tags for version in registry.versions(name)}
    undone = tuple(e for e in log.entries if e.version in tags and tags[e.version].get(_tag(e)) != e.model_dump_json())
    wanted = {CHAMPION: log.last.champion, PREVIOUS: log.last.previous}
    gone = {alias: number for alias, number in wanted.items() if number is not None and number not in tags}
    moved = _moved(registry, name, *(_there(tags, number) for number in wanted.values()))
    if log.enforced:
        copies = _copies(registry, name)
        champion, served = _there({*tags, *copies}, log.last.champion), _served(registry, name, copies)
        if served != champion:
            moved[f"{PROD}@{CHAMPION}"] = (served, champion)
    return State(undone, moved, gone)


def settle(registry: Registry, name: str) -> tuple[Log, list[str]]:
    """Bring aliases and tags to what the log says; returns the log and what had to be done, in words."""
    said: list[str] = []
    while True:
        log = decisions.read(registry, name)
        state = compare(registry, name, log)
        if log.last is None or state.is_settled:
            return log, said + state.losses()
        said += [f"{line}; done now" for line in state.lines()]
        _carry_out(registry, name, log, log.last, state.undone)
        if decisions.read(registry, name).last == log.last:  # else somebody decided meanwhile: theirs comes last
            return log, said + state.losses()


def _carry_out(registry: Registry, name: str, log: Log, last: Decision, undone: tuple[Decision, ...]) -> None:
    client, there = registry.client, {int(version.version) for version in registry.versions(name)}
    if log.enforced and last.champion:  # first what is served from
        champion, previous = (_copy(registry, name, version, there) for version in (last.champion, last.previous))
        _point(registry, name + PROD, champion, previous)
    _point(registry, name, _there(there, last.champion), _there(there, last.previous))
    states = _states(log)
    for entry in undone:
        candidate = registry.champion(name, CANDIDATE)
        with registry.asked():
            if candidate == entry.version and entry.kind != "rollback":
                client.delete_registered_model_alias(name, CANDIDATE)
            for version in there & {entry.version, _left(entry)}:
                state, latest = states[version]
                client.set_model_version_tag(name, str(version), "review.status", state)
                client.set_model_version_tag(name, str(version), "review.decided", _decided(latest, version))
    if undone:
        decisions.tell(registry, name, log)
    for entry in undone:  # last: says that all of it is done
        with registry.asked():
            client.set_model_version_tag(name, str(entry.version), _tag(entry), entry.model_dump_json())


def _states(log: Log) -> dict[int, tuple[str, Decision]]:
    """Version -> what the latest decision about it made of it, and that decision."""
    found: dict[int, tuple[str, Decision]] = {}
    for entry in log.entries:
        found[entry.version] = STATUS[entry.kind], entry
        if (left := _left(entry)) is not None:
            found[left] = ROLLED_BACK, entry
    return found


def _decided(latest: Decision, version: int) -> str:
    forced = f", {latest.forced}" if latest.failed and latest.version == version else ""
    return f"{latest.by}, {latest.time}{forced}"


def _left(entry: Decision) -> int | None:
    """The champion that a rollback went away from; None: it is no rollback."""
    return entry.previous if entry.kind == "rollback" else None


def _there(versions: Container[int], number: int | None) -> int | None:
    """A version that may have been deleted; None: it was."""
    return number if number in versions else None


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


def _copies(registry: Registry, name: str) -> dict[int, int]:
    """Version of NAME -> the number of its copy in NAME-prod."""
    source = f"models:/{name}/"
    return {
        int(str(each.source).removeprefix(source)): int(each.version)
        for each in registry.versions(name + PROD)
        if str(each.source).startswith(source)
    }


def _served(registry: Registry, name: str, copies: Mapping[int, int]) -> int | None:
    """The version of NAME that the champion of NAME-prod is a copy of; None: there is no champion."""
    champion = registry.champion(name + PROD)
    return next((version for version, copy in copies.items() if copy == champion), None)


def _copy(registry: Registry, name: str, version: int | None, there: Container[int]) -> int | None:
    """The number in NAME-prod of a version, copied there if it is not; None: there is nothing to copy any more."""
    copies = _copies(registry, name)
    if version is None or version in copies or version not in there:
        return copies.get(version) if version else None
    with registry.asked():
        return int(registry.client.copy_model_version(f"models:/{name}/{version}", name + PROD).version)


def _tag(entry: Decision) -> str:
    return f"review.decision.{entry.number:04d}"


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
