"""Decisions of reviewers, appended and carried out without their gates."""

from typing import Any

from pipelines.registry import decisions
from pipelines.registry.aliases import settle
from pipelines.registry.decisions import Decision, Log
from pipelines.registry.registry import Registry


def decide(server: Registry, name: str, version: int, kind: Any = "promote", by: str = "a", **more: Any) -> Decision:
    """Append and carry out, without gates."""
    log = decisions.read(server, name)
    entry = next_entry(log, version, kind, by, **more)
    decisions.append(server, name, log, entry)
    settle(server, name)
    return entry


def next_entry(log: Log, version: int, kind: Any = "promote", by: str = "a", **more: Any) -> Decision:
    champion, previous = (log.last.champion, log.last.previous) if log.last else (None, None)
    if kind != "reject":
        champion, previous = version, champion
    return Decision(
        number=len(log.entries) + 1, kind=kind, version=version, champion=champion, previous=previous, by=by,
        why="because", time=decisions.now(), **more,
    )  # fmt: skip


def aliases(server: Registry, name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in server.model(name).aliases.items()}
