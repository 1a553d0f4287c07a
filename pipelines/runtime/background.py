"""A call in a thread of its own, so that Ctrl-C and whatever has to be looked at meanwhile stay with the caller."""

import threading
from collections.abc import Callable


class BackgroundCall:
    """Runs from now on; whoever waits asks for its error."""

    def __init__(self, call: Callable[[], object]):
        self.failure: Exception | None = None
        self._ended = threading.Event()  # not Thread.join: interrupted, it takes a thread that runs for one that ended
        threading.Thread(target=self._run, args=(call,), daemon=True).start()

    def ended(self, seconds: float) -> bool:
        """Whether it has ended by then."""
        return self._ended.wait(seconds)

    def _run(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # handed to who waits
            self.failure = error
        finally:
            self._ended.set()
