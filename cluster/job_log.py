"""What a job has printed, for its follower: without the stack dumps of Ray's C++ parts, and how far it came."""

import re
from collections.abc import Iterator

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_DUMPS = (
    r"\(raylet[^)]*\) (?!.*(memory pressure|low on memory))",  # a death, at length
    r"\[state-dump\]",
    r"\[\d{4}-\d\d-\d\d [\d:,.]+ [IWECF] \d+ \d+\] ",  # a line of its log: date, time, level, process, thread
    r"\*\*\* SIG\w+ ",
    r"\*\*\* Aborted at ",
    r"StackTrace Information",
    r"PC: @ ",
    r"@ +0x[0-9a-f]+",
    r"\S+\.so(\.[\d.]+)?\([^)]*\) ?\[0x[0-9a-f]+\]",
    r"(ray::)?\S*\(\+0x[0-9a-f]+\) \[0x[0-9a-f]+\]",
    r"Raylet is terminated\. ",
    r"The last \d+ lines of the Raylet are",
    r"Fatal Python error: Aborted",
)
_DUMP = re.compile(rf"\s*(?:{'|'.join(_DUMPS)})")
_STEP = re.compile(r"\bstep (\d+)/\d+")


class JobLog:
    """Takes a log in pieces as they come, gives back the lines that are for people."""

    def __init__(self) -> None:
        self._rest = ""
        self.left_out = 0
        self.step: int | None = None
        """That the job said last."""

    def __call__(self, piece: str) -> str:
        """The whole lines of what has come so far and was not given back yet."""
        *whole, self._rest = (self._rest + piece).split("\n")
        return "".join(f"{line}\n" for line in self._kept(whole))

    def end(self) -> str:
        """What is left: a last line without an end, and that lines were left out."""
        last = "".join(self._kept([self._rest] if self._rest else []))
        self._rest = ""
        if not self.left_out:
            return last
        begin = "\n" if last else ""
        return f"{last}{begin}({self.left_out} lines of Ray's own dumps left out; its logs are on the nodes)\n"

    def _kept(self, lines: list[str]) -> Iterator[str]:
        for line in lines:
            if _DUMP.match(_COLOR.sub("", line)):
                self.left_out += 1
                continue
            if found := _STEP.search(line):
                self.step = int(found[1])
            yield line


def last_words(status: int | None, message: str, step: int | None) -> str:
    """How a job ended that failed, in one line; empty: its own log has said it.

    Args:
        status: of its driver's process; negative: the number of the signal that ended it. None: it never ran, or its
            node died.
        message: Ray's.
        step: that the job said last.
    """
    where = "the last checkpoint" if step is None else f"the last checkpoint, at step {step} or before"
    again = f"submitting the same again goes on from {where}"
    if status is not None and status < 0:
        return f"the driver was killed (signal {-status}{': out of memory?' if status == -9 else ''}); {again}"
    if status is None and message.strip():
        return message.strip().splitlines()[-1]
    return ""
