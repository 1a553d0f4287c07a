"""A run whose Ray is a cluster of local nodes, and `kill -9` into its nodes."""

import json
import time
from pathlib import Path
from typing import Any

import psutil

from cluster import local_nodes
from tests.support.kill_runs import ROLES, KilledRun
from tests.support.mlflow_server import MlflowServer
from tests.support.processes import ray_processes

END_S = 60
"""A node looks twice a second whether one of its parts has died."""


class NodesRun(KilledRun):
    """`selfray pretrain` on a head of 1 CPU and two nodes of 2: both workers fit on one of these.

    Args:
        folder: as in KilledRun.
        tree: the recipe.
        nodes: folder of the cluster, short.
        server: what tracks the run; None: the embedded store.
        num_nodes: the head included.
        cpus: of each node but the head.
    """

    def __init__(
        self,
        folder: Path,
        tree: dict[str, Any],
        nodes: Path,
        server: MlflowServer | None = None,
        num_nodes: int = 3,
        cpus: int = 2,
    ):
        self._tree = {**tree, "tracking": {"uri": server.uri}} if server else tree
        super().__init__(folder, self._tree)
        self._nodes, self._server, self._num_nodes, self._cpus = nodes, server, num_nodes, cpus

    def up(self) -> None:
        """Start the cluster, or what it has lost of its nodes."""
        made = local_nodes.load(self._nodes)
        if made is None or not made.nodes[0].process():
            local_nodes.down(self._nodes)
            made = local_nodes.up(self._nodes, num_nodes=1, cpus_per_node=1)
        while len(made.alive()) < self._num_nodes:
            made = local_nodes.join(self._nodes, cpus=self._cpus)
        self.write({**self._tree, "ray": {**self._tree.get("ray", {}), "address": made.gcs}})

    def kill(self, role: str) -> bool:
        """As in KilledRun, and: `train node`, `data node` (the raylet of one), `head` (its whole node), `mlflow`.

        A node whose part was killed has ended when this returns.
        """
        made = local_nodes.load(self._nodes)
        assert made is not None
        if role == "driver" or not self.running:
            return super().kill(role)
        if role == "mlflow":
            assert self._server is not None
            self._server.kill()
            return True
        head, *others = made.alive()
        if role == "head":
            node = psutil.Process(head.pid)
            node.kill()  # the kernel ends the rest of it
            node.wait(END_S)
            return True
        if role in ("worker", "controller"):
            found = [process for node in (head, *others) for process in ray_processes(ROLES[role], node.pid)]
            if found:
                found[-1].kill()
            return bool(found)
        trains = {node.pid: bool(ray_processes(ROLES["worker"], node.pid)) for node in others}
        wanted = [node for node in others if trains[node.pid] == (role == "train node")]
        raylets = ray_processes(ROLES["raylet"], wanted[-1].pid) if wanted and any(trains.values()) else []
        if not raylets:
            return False
        node = psutil.Process(wanted[-1].pid)
        raylets[-1].kill()
        node.wait(END_S)
        return True

    def repair(self, role: str) -> None:
        """What somebody has to do after the kill of that role; of the others the run takes care itself."""
        if role == "mlflow":
            assert self._server is not None
            self._server.start()
        if role in ("driver", "head"):
            assert self.wait(200) != 0
            self.up()
            self.start()

    def trainers(self) -> list[int]:
        """How many workers each living node trains with, the head first."""
        made = local_nodes.load(self._nodes)
        assert made is not None
        return [len(ray_processes(ROLES["worker"], node.pid)) for node in made.alive()]

    def readers(self) -> list[bool]:
        """Whether each living node reads shards at this moment, the head first."""
        made = local_nodes.load(self._nodes)
        assert made is not None
        return [bool(ray_processes("ray::Read", node.pid)) for node in made.alive()]

    def notice(self) -> bool:
        """Tell the cluster that the node which trains will be taken away in five minutes, as a cloud would."""
        from ray._raylet import GcsClient
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        made = local_nodes.load(self._nodes)
        assert made is not None
        for number, node in list(enumerate(made.nodes))[1:]:
            if node.process() and ray_processes(ROLES["worker"], node.pid):
                node_id = json.loads((self._nodes / f"node-{number}.json").read_text())["node_id"]
                reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
                deadline = int(time.time() + 300) * 1000
                accepted, why = GcsClient(address=made.gcs).drain_node(node_id, reason, "a test", deadline)
                assert accepted, why
                return True
        return False
