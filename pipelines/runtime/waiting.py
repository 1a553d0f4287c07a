"""Training workers that wait for room: Ray Train asks for it again and again, without end and without a word."""

import time
from collections.abc import Callable, Mapping

from pipelines.runtime import session

WAIT_S, AGAIN_S = 60.0, 600.0
"""How long they wait until it is said, and until it is said again."""
LOOK_S = 5.0


class PlacementWatch:
    """Whether the workers of this job's training have what they need.

    Args:
        needed: resources of all workers together, without their readers'.
    """

    def __init__(self, needed: Mapping[str, float]):
        self._needed = needed
        self._since = self._look = time.monotonic()
        self._due = self._since + WAIT_S

    def poll(self, tell: Callable[[str], None]) -> None:
        """Tell, rarely, that there is no room for any of them, and what is free."""
        now = time.monotonic()
        if now < self._look:
            return
        self._look = now + LOOK_S
        if session.reservations("CREATED"):
            self._since, self._due = now, now + WAIT_S
        elif now >= self._due:
            self._due = now + AGAIN_S
            tell(f"no room for workers for {now - self._since:.0f} s: {self._lack()}")

    def _lack(self) -> str:
        import ray

        free = ray.available_resources()
        needs = " and ".join(f"{count:g} {kind}" for kind, count in self._needed.items())
        there = " and ".join(f"{free.get(kind, 0):g} {kind}" for kind in self._needed)
        return f"they need {needs}, free are {there}; still waiting (`ray status` says who holds the rest)"
