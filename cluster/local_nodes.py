"""`selfray cluster`: several Ray nodes as real processes of this machine, for trying things and for tests.

Everything lies in one folder: cluster.json (what was started), a temp folder of Ray's and a log per node. Whatever is
ended later was started by us: its process id and start time are recorded there. Who has the token may submit.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cluster.local_node import LOOPBACK
from pipelines.errors import UserError
from pipelines.runtime import JOIN_AT, STATE
from pipelines.storage import permissions
from pipelines.storage.atomic import write_text
from ssl_core.config import Config

logger = logging.getLogger("selfray.ray")

NAME = "cluster.json"
DEFAULT = STATE / "cluster"
START_S = 180
TRAINER = "trainer"
"""Each node but the head has one of it: with ray.worker_resource=trainer one worker trains on each, the head reads."""
LONGEST_PATH = 43
"""Ray puts sockets some 60 characters below, and the kernel takes 107."""


class Node(Config):
    pid: int
    started: float
    """When the process began, seconds since 1970: tells it from a later one of the same number."""
    cpus: int
    log: Path

    def process(self) -> psutil.Process | None:
        """None: it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if same else None


class Cluster(Config):
    address: str
    """URL of the dashboard, where jobs are submitted."""
    gcs: str
    object_store_mb: int
    nodes: tuple[Node, ...]
    """The head first."""

    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.process()]


def load(folder: Path = DEFAULT) -> Cluster | None:
    """What was started from this folder and not taken down; it may have died since."""
    path = folder / NAME
    return Cluster.model_validate_json(path.read_text()) if path.exists() else None


def up(folder: Path, num_nodes: int, cpus_per_node: int, object_store_mb: int = 256) -> Cluster:
    """Start a head and `num_nodes` - 1 more nodes, and wait until jobs can be submitted.

    Raises:
        UserError: one is up already, others could use it, or a node does not start.
    """
    permissions.closed()
    if (there := load(folder)) and there.alive():
        raise UserError(
            f"cluster: {len(there.alive())} nodes are up already at {there.address}; "
            f"`selfray cluster down{named(folder)}` ends them"
        )
    if len(str(folder)) > LONGEST_PATH:
        raise UserError(f"--dir: {folder}: longer than {LONGEST_PATH} characters, too long for Ray's sockets below it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    gcs, dashboard = _free_ports(2)
    made = Cluster(
        address=f"http://{LOOPBACK}:{dashboard}", gcs=f"{LOOPBACK}:{gcs}", object_store_mb=object_store_mb, nodes=()
    )
    head = {"gcs_server_port": gcs, "dashboard_port": dashboard, "include_dashboard": True}
    try:
        made = _start(folder, made, cpus_per_node, head)
        for _ in range(num_nodes - 1):  # one by one: nodes that share a temp folder choose their sockets' names there
            made = _start(folder, made, cpus_per_node, _worker(made))
        _wait_for_dashboard(made)
    except BaseException:
        down(folder)
        raise
    return made


def join(folder: Path, cpus: int, prefix: Sequence[str] = ()) -> Cluster:
    """One more node for the cluster that is up.

    Args:
        prefix: a command that runs the node's own, e.g. in a mount namespace of its own.

    Raises:
        UserError: none is up, others could use it, or the node does not start.
    """
    permissions.closed()
    made = load(folder)
    if made is None or not made.alive():
        raise UserError(f"cluster: none is up in {folder}")
    return _start(folder, made, cpus, _worker(made), prefix)


def down(folder: Path) -> int:
    """End what `up` and `join` started, and nothing else; returns how many nodes were still running."""
    made = load(folder)
    if made is None:
        return 0
    running = [process for node in reversed(made.nodes) if (process := node.process())]
    family = [member for process in running for member in _family(process)]
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(family, timeout=10)
    for process in left:  # psutil compares the start time before it signals
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    (folder / NAME).unlink()
    return len(running)


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:  # it has just ended, and its own with it
        return []


def _start(folder: Path, made: Cluster, cpus: int, spec: dict[str, Any], prefix: Sequence[str] = ()) -> Cluster:
    number = len(made.nodes)
    log, ready = folder / f"node-{number}.log", folder / f"node-{number}.json"
    ready.unlink(missing_ok=True)
    spec = {
        **spec,
        "num_cpus": cpus,
        "object_store_memory": made.object_store_mb << 20,
        "temp_dir": str(folder / f"ray-{number}"),  # of its own: nodes unpack jobs there, and delete what is not theirs
    }
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),  # jobs run `python`
        JOIN_AT: made.gcs,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes the outer address of the machine for loopback
        **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),  # else workers meet at the outer address
    }
    command = [*prefix, sys.executable, "-m", "cluster.local_node", json.dumps(spec), str(ready)]
    for last in (False, True):
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        node = Node(pid=process.pid, started=psutil.Process(process.pid).create_time(), cpus=cpus, log=log)
        grown = made.model_copy(update={"nodes": (*made.nodes, node)})
        write_text(folder / NAME, grown.model_dump_json(indent=1))
        try:
            _wait_for(node, ready, number)
            break
        except UserError as error:  # Ray gives its parts 30 s to start
            if last or "timed out during startup" not in str(error):
                raise
            logger.warning("cluster: node %d did not start within 30 s on this busy machine; trying once more", number)
    return grown


def _worker(made: Cluster) -> dict[str, Any]:
    return {
        "gcs_address": made.gcs,
        "node_manager_port": 0,
        "include_log_monitor": False,
        "num_gpus": 0,  # they are the head's
        "resources": {TRAINER: 1},
    }


def _wait_for(node: Node, ready: Path, number: int) -> None:
    deadline = time.monotonic() + START_S
    while not ready.exists():
        if not node.process() or time.monotonic() > deadline:
            lines = [line for line in node.log.read_text(errors="replace").splitlines() if line.strip()]
            reason = lines[-1] if lines else f"nothing heard of it in {START_S} s"
            raise UserError(f"cluster: node {number} did not start ({reason}); its log: {node.log}")
        time.sleep(0.1)


def _wait_for_dashboard(made: Cluster) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{made.address}/api/version", timeout=5):
                return
        except urllib.error.HTTPError:  # it asks for the token, so it is there
            return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"cluster: the dashboard at {made.address} does not answer")


def named(folder: Path) -> str:
    return "" if folder == DEFAULT else f" --dir {folder}"


def _free_ports(count: int) -> list[int]:
    def bound() -> Iterator[socket.socket]:
        for _ in range(count):
            listener = socket.socket()
            listener.bind((LOOPBACK, 0))
            yield listener

    listeners = list(bound())
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
