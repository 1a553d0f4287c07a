"""The processes of a Ray that a test started itself; none is ever looked up by name machine-wide."""

import psutil


def ray_processes(title: str, of: int | None = None) -> list[psutil.Process]:
    """Descendants of a process (default: this one) whose command line holds `title`, oldest first."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        try:
            if title in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:  # it ended while we looked
            continue
    return sorted(found, key=lambda process: process.pid)
