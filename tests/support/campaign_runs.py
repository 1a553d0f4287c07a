"""A campaign whose Ray is a cluster of local nodes, and `kill -9` into a node that a trial trains on."""

from pathlib import Path

import psutil

from cluster import local_nodes
from pipelines.tuning import plan, records
from pipelines.tuning.records import Trial
from tests.support.kill_runs import ROLES
from tests.support.node_runs import END_S, NodesRun
from tests.support.processes import ray_processes


class CampaignRun(NodesRun):
    """`selfray tune`; with `--resume` once there is something to go on with."""

    def arguments(self) -> list[str]:
        begun = bool(list(self.storage.glob(f"tune/*/{plan.NAME}")))
        return ["tune", str(self._recipe), *(["--resume"] if begun else [])]

    def campaign(self) -> Path:
        """Its folder."""
        (found,) = self.storage.glob(f"tune/*/{plan.NAME}")
        return found.parent

    def trials(self) -> list[Trial]:
        """None before the campaign has begun."""
        return [trial for path in self.storage.glob("tune/*") for trial in records.trials(path)]

    def kill_node_of_a_trial(self, looks: int) -> Trial | None:
        """SIGKILL the raylet of a node, not the head, on which a trial that was looked at so often trains.

        Returns: the trial as it was recorded just before; None: there is none just now.
        """
        made = local_nodes.load(self._nodes)
        assert made is not None
        going = [t for t in self.trials() if t.state == "running" and len(t.looks) >= looks]
        for trial in going:
            for node in made.alive()[1:]:
                if _trains(node.pid, trial.work) and (raylets := ray_processes(ROLES["raylet"], node.pid)):
                    ended = psutil.Process(node.pid)
                    raylets[-1].kill()
                    ended.wait(END_S)
                    return trial
        return None


def _trains(node: int, work: Path) -> bool:
    """Whether a process below that of a node holds the lock of a trial's folder."""
    for process in psutil.Process(node).children(recursive=True):
        try:
            if any(file.path == str(work / ".lock") for file in process.open_files()):
                return True
        except psutil.NoSuchProcess:  # it ended while we looked
            continue
    return False
