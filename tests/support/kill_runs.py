"""`selfray pretrain` as a user runs it, in processes of its own, and `kill -9` into it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipelines.config.parse import load
from pipelines.config.run import RunConfig
from pipelines.storage import outbox
from tests.support.processes import family, killed, ray_processes

PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
"""The start of a command gives a server one try, and one that has just come back on a busy machine is slow."""
ROLES = {"worker": "RayTrainWorker", "controller": "TrainController", "raylet": "raylet/raylet", "driver": ""}


class KilledRun:
    """One run of `selfray pretrain`, started again by `start` each time its driver has ended.

    Args:
        folder: holds the recipe, the storage and what the commands print.
        tree: the recipe.
    """

    def __init__(self, folder: Path, tree: dict[str, Any]):
        folder.mkdir(parents=True, exist_ok=True)
        self.storage, self._recipe, self._log = folder / "store", folder / "recipe.yaml", folder / "printed.log"
        self.write(tree)
        self._driver: subprocess.Popen[bytes] | None = None
        self._family: list[psutil.Process] = []

    def write(self, tree: dict[str, Any]) -> None:
        """The recipe of the next start."""
        self._recipe.write_text(yaml.safe_dump({**tree, "storage": str(self.storage)}))

    def config(self) -> RunConfig:
        """What the recipe says now."""
        return load(self._recipe)

    def start(self, prefix: Sequence[str] = ()) -> None:
        """
        Args:
            prefix: a command that runs ours.
        """
        with self._log.open("ab") as log:
            command = [*prefix, sys.executable, "-m", "pipelines", *self.arguments()]
            environment = {**os.environ, **PATIENT}
            self._driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def arguments(self) -> list[str]:
        """Of the command line."""
        return ["pretrain", str(self._recipe)]

    @property
    def running(self) -> bool:
        return self._driver is not None and self._driver.poll() is None

    def wait(self, seconds: float) -> int:
        """Exit status of the command."""
        assert self._driver is not None
        status = self._driver.wait(seconds)
        self._reap()
        return status

    def kill(self, role: str) -> bool:
        """SIGKILL the newest process of that role; False if there is none just now."""
        assert self._driver is not None
        if not self.running:
            return False
        self._family = family(self._driver.pid)
        if role == "driver":
            self._driver.kill()
            return True
        found = ray_processes(ROLES[role], self._driver.pid)
        return bool(found) and killed(found[-1])

    def interrupt(self) -> None:
        """Ctrl-C: it ends at a checkpoint."""
        assert self._driver is not None
        self._driver.send_signal(signal.SIGINT)
        assert self.wait(120) == 130, self.printed()

    def step(self) -> int:
        """The newest step logged."""
        folder = self.folder()
        points = outbox.tail(folder, 0)[0] if folder else []
        return points[-1].step if points else 0

    def folder(self) -> Path | None:
        """The stage's folder, once there is one."""
        return next(iter((self.storage / "pretrain").glob("*")), None)

    def half_written(self) -> bool:
        """Whether a checkpoint is there in part."""
        folder = self.folder()
        return folder is not None and any((folder / "checkpoints").glob(".*.part"))

    def printed(self) -> str:
        return self._log.read_text()

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it came true in time, and before the command ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.running:
            if condition():
                return True
            time.sleep(0.01)
        return condition()

    def close(self) -> None:
        """End what is left of it, by pid."""
        if self.running and self._driver is not None:
            self._family = family(self._driver.pid)
            self._driver.kill()
            self._driver.wait()
        self._reap()

    def _reap(self) -> None:
        """What outlives its driver ends by itself, soon."""
        _, left = psutil.wait_procs(self._family, timeout=30)
        for process in left:
            killed(process)
        self._family = []
