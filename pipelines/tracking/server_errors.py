"""What a client of an HTTP server says when nobody answers, in words; its own name a pool, a path and a retry count."""

import re

from pipelines.config import secret

_AWAY = re.compile(r"Max retries exceeded with url|Connection aborted|Failed to establish a new connection")
_REASON = re.compile(r"\[Errno -?\d+\] ([^'\")\]]+)|(timed out)|(Remote end closed connection)")


def one_line(error: BaseException) -> str:
    """The first line of an error, cut to what fits beside a sentence; MLflow's name the server with its login."""
    lines = secret.shown(str(error)).strip().splitlines() or [type(error).__name__]
    return in_words(lines[0])[:200]


def in_words(line: str) -> str:
    """One line of an error; what is no lost connection comes back as it is."""
    if not _AWAY.search(line):
        return line
    found = _REASON.search(line)
    reason = next((group for group in found.groups() if group), "") if found else ""
    return f"the server does not answer{f' ({reason.strip()})' if reason else ''}"
