"""A run whose Ray is a cluster of local nodes, and `kill -9` into its nodes."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cluster import local_nodes
from tests.support.kill_runs import ROLES, KilledRun
from tests.support.mlflow_server import MlflowServer
from tests.support.processes import killed, ray_processes

READS = "ray::Read"
"""Title of a process that runs a read task."""
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
        store_mb: object store of each node: how far ahead of the training blocks can be read.
    """

    def __init__(
        self,
        folder: Path,
        tree: dict[str, Any],
        nodes: Path,
        server: MlflowServer | None = None,
        num_nodes: int = 3,
        cpus: int = 2,
        store_mb: int = 256,
    ):
        self._tree = {**tree, "tracking": {"uri": server.uri}} if server else tree
        super().__init__(folder, self._tree)
        self._nodes, self._server, self._num_nodes, self._cpus = nodes, server, num_nodes, cpus
        self._store_mb = store_mb

    def up(self) -> None:
        """Start the cluster, or what it has lost of its nodes."""
        made = local_nodes.load(self._nodes)
        if made is None or not made.nodes[0].process():
            local_nodes.down(self._nodes)
            made = local_nodes.up(self._nodes, num_nodes=1, cpus_per_node=1, object_store_mb=self._store_mb)
        while len(made.alive()) < self._num_nodes:
            made = local_nodes.join(self._nodes, cpus=self._cpus)
        self.write({**self._tree, "ray": {**self._tree.get("ray", {}), "address": made.gcs}})

    def kill(self, role: str) -> bool:
        """As in KilledRun, and: `train node`, `data node` (the raylet of one), `head` (its whole node), `mlflow`.

        A data node has no worker and runs a read task at this very moment. A node whose part was killed has ended when
        this returns.
        """
        made = local_nodes.load(self._nodes)
        assert made is not None
        if role == "driver" or not self.running:
            return super().kill(role)
        if role == "mlflow":
            assert self._server is not None
            self._server.kill()
            return True
        if role == "head":
            return self._ended(made.nodes[0].process(), lambda head: head)  # the kernel ends the rest of it
        if role in ("worker", "controller"):
            found = [process for node in made.alive() for process in ray_processes(ROLES[role], node.pid)]
            return bool(found) and killed(found[-1])
        others = [process for node in made.nodes[1:] if (process := node.process())]
        trains = {node.pid: bool(ray_processes(ROLES["worker"], node.pid)) for node in others}
        wanted = [node for node in others if trains[node.pid] == (role == "train node")]
        if role == "data node":
            wanted = [node for node in wanted if any(trains.values()) and ray_processes(READS, node.pid)]
        return self._ended(wanted[-1] if wanted else None, lambda node: ray_processes(ROLES["raylet"], node.pid)[-1])

    def _ended(self, node: psutil.Process | None, part: Callable[[psutil.Process], psutil.Process]) -> bool:
        """Kill a part of a node and wait for the node to end; False if either has gone already."""
        with suppress(psutil.NoSuchProcess, IndexError):
            if node and killed(part(node)):
                node.wait(END_S)
                return True
        return False

    def repair(self, role: str) -> None:
        """What somebody has to do after the kill of that role; of the others the run takes care itself."""
        if role == "mlflow":
            assert self._server is not None
            self._server.start()
        if role in ("driver", "head") and self.wait(200) != 0:  # with 0 it had done all that it needed them for
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
        return [bool(ray_processes(READS, node.pid)) for node in made.alive()]

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
