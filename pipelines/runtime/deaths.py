"""Workers of a training that died: one line for each, with why and from where it goes on; Ray's own fill a screen."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ray.train import UserCallback

from pipelines.errors import Interrupted, UserError
from pipelines.storage import checkpoint, outbox
from pipelines.storage.signals import FAILURE

_NODE = re.compile(r"node[^\n]{0,80}\b(died|dead|terminated|preempted|drained|lost)\b", re.IGNORECASE)
_MEMORY = re.compile(r"(low|out) (on|of) memory\b|memory (pressure|monitor)", re.IGNORECASE)
_SIGNAL = re.compile(r"connection error code 2|SIGKILL|SYSTEM_ERROR|killed", re.IGNORECASE)


class Deaths(UserCallback):  # type: ignore[misc]
    """Runs in Ray Train's controller, which hears of every death; the notes of the stage bring it to the user."""

    def __init__(self, folder: Path):
        """folder: of the pre-training stage."""
        self._folder = folder

    def after_exception(self, run_context: object, worker_exceptions: Mapping[int, Exception]) -> None:
        with suppress(OSError):  # a storage that fails is said by whoever writes to it next
            if not (self._folder / FAILURE).exists():  # else it ends here, and says why itself
                outbox.note(
                    self._folder, f"{who(worker_exceptions)}; {checkpoint.goes_on(self._folder / 'checkpoints')}"
                )


def who(exceptions: Mapping[int, Exception]) -> str:
    """Which workers died and why, e.g. `worker 0 died: its node died`.

    Args:
        exceptions: rank -> what Ray says.
    """
    reasons: dict[str, list[int]] = {}
    for rank, error in sorted(exceptions.items()):
        reasons.setdefault(why(error), []).append(rank)
    said = [f"worker{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} {text}" for text, ranks in reasons.items()]
    return "; ".join(said)


def why(error: Exception) -> str:
    """What Ray says of one worker, in a few words."""
    cause = getattr(error, "health_check_failure", None) or getattr(error, "_base_exc", None) or error
    text = str(cause)
    if isinstance(cause, (UserError, Interrupted)):
        return f"ended: {' '.join(text.split())}"
    if _MEMORY.search(text):
        return "died: Ray ended it, its node ran out of memory"
    if _NODE.search(text):
        return "died: its node died"
    if _SIGNAL.search(text):
        return "died: its process was killed (signal 9: out of memory?)"
    lines = [part.strip() for part in text.splitlines() if part.strip()]
    return f"failed: {lines[-1][:300] if lines else type(cause).__name__}"
