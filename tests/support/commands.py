"""`selfray` as a user types it, in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def selfray(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end; both streams come back as one text."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, **environment},
    )


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Begin it; what it prints goes to `log`."""
    with log.open("ab") as file:
        command = [sys.executable, "-m", "pipelines", *arguments]
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()
