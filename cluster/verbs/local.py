"""cluster: several Ray nodes on this machine."""

import argparse
from pathlib import Path

from pipelines.cli.base import Verbs

HOW = """submit there:  selfray submit RECIPE --address {address}
watch it:      selfray jobs; selfray logs ID --follow; selfray stop ID
end it:        selfray cluster down{named}
It listens on loopback only; who has the token in {token} may submit."""


def add(verbs: Verbs) -> None:
    parser = verbs.add("cluster", "several Ray nodes as processes of this machine: up, status, down", _do)
    parser.add_argument("what", choices=("up", "status", "down"))
    parser.add_argument("--nodes", type=_positive, default=3, help="the head included (default 3)")
    parser.add_argument("--cpus-per-node", type=_positive, default=1, help="logical CPUs (default 1)")
    parser.add_argument("--dir", type=Path, default=None, help="its folder; another one for each of several clusters")


def _do(options: argparse.Namespace) -> int:
    from cluster import local_nodes

    folder = local_nodes.DEFAULT if options.dir is None else options.dir.absolute()
    if options.what == "up":
        return _up(folder, options.nodes, options.cpus_per_node)
    return _down(folder) if options.what == "down" else _status(folder)


def _up(folder: Path, nodes: int, cpus: int) -> int:
    import os

    from cluster import local_nodes
    from pipelines.tracking.display import say

    say(f"cluster: starting {nodes} nodes of {cpus} CPU{'s' * (cpus > 1)} in {folder}")
    made = local_nodes.up(folder, nodes, cpus)
    token = os.environ.get("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN")
    say(f"cluster: {len(made.nodes)} nodes are up at {made.address}")
    say(HOW.format(address=made.address, named=local_nodes.named(folder), token=token))
    return 0


def _status(folder: Path) -> int:
    from cluster import local_nodes
    from pipelines.tracking.display import say

    made = local_nodes.load(folder)
    if made is None:
        say(f"cluster: none is up in {folder}; selfray cluster up --nodes 3")
        return 1
    alive = made.alive()
    say(f"cluster: {len(alive)} of {len(made.nodes)} nodes are alive, at {made.address}")
    for number, node in enumerate(made.nodes):
        role, state = "head" if number == 0 else "node", "alive" if node in alive else "dead"
        say(f"  {role:5} {state:6} process {node.pid:<8} {node.cpus} CPUs   {node.log}")
    return 0 if len(alive) == len(made.nodes) else 1


def _down(folder: Path) -> int:
    from cluster import local_nodes
    from pipelines.tracking.display import say

    running = local_nodes.down(folder)
    say(f"cluster: {running} nodes ended" if running else f"cluster: none was up in {folder}")
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number of at least 1")
    return int(text)
