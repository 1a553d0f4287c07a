"""The processes of a Ray that a test started itself; none is ever looked up by name machine-wide."""

from contextlib import suppress

import psutil


def ray_processes(title: str, of: int | None = None) -> list[psutil.Process]:
    """Descendants of a process (default: this one) whose command line holds `title`, oldest first."""
    found = []
    for process in family(of):
        with suppress(psutil.NoSuchProcess):  # it ended while we looked
            if title in " ".join(process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda process: process.pid)


def family(of: int | None = None) -> list[psutil.Process]:
    """All descendants of a process (default: this one); none of one that has ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(of).children(recursive=True)
    return []


def killed(process: psutil.Process) -> bool:
    """SIGKILL; False if it has ended by itself meanwhile."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
        return True
    return False
