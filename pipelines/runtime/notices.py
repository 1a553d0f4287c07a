"""Nodes that are about to be taken away: a preempted spot instance, a drained Kubernetes node."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipelines.config.sections import RayConfig
from pipelines.runtime.nodes import leaving
from pipelines.storage import outbox
from pipelines.storage.signals import SAVE


class Notices:
    """What the driver has heard of them; a Ray of our own has one node, and nobody announces its end."""

    def __init__(self, config: RayConfig):
        self._joined = config.address != "local"
        self._known: set[str] = set()

    def poll(self, folders: Iterable[Path]) -> None:
        """Ask the trainings in these folders for a checkpoint, once for each time that more nodes are to leave."""
        if not self._joined or not (new := leaving() - self._known):
            return
        self._known |= new
        for folder in folders:
            with suppress(OSError):  # a storage that takes no note takes no checkpoint either
                outbox.note(folder, f"{len(new)} nodes are about to leave: saving a checkpoint")
                (folder / SAVE).touch()
