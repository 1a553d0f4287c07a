"""Which node runs what: workers and readers as Ray places them; free of Ray."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelines.config.run import RunConfig


class Node(NamedTuple):
    """A node as Ray sees it."""

    name: str
    machine: str
    """Address; several nodes may share one."""
    resources: Mapping[str, float]

    def has(self, kind: str) -> int:
        return int(self.resources.get(kind, 0))


class Placement(NamedTuple):
    """Who runs where: node name -> how many."""

    workers: dict[str, int]
    readers: dict[str, int]
    """Room for reader tasks, which Ray Data spreads over the processors that the workers leave."""
    unplaced: int
    """Workers that find no node."""


def placement(config: RunConfig, nodes: Sequence[Node], use_gpu: bool) -> Placement:
    """As Ray packs them: workers on as few nodes as possible, readers on whatever CPUs these leave."""
    left = config.train.num_workers
    kinds = ["CPU", *(["GPU"] if use_gpu else []), *([own] if (own := config.ray.worker_resource) else [])]
    room = {node.name: min(map(node.has, kinds)) for node in nodes}
    workers: dict[str, int] = {}
    while left and room and room[most := max(room, key=lambda name: room[name])]:
        workers[most] = min(left, room.pop(most))
        left -= workers[most]
    free = {node.name: node.has("CPU") - workers.get(node.name, 0) for node in nodes}
    return Placement(workers, {name: count for name, count in free.items() if count}, left)


def placement_line(config: RunConfig, nodes: Sequence[Node], use_gpu: bool) -> str:
    """Who will run where, for the start of a run."""
    described = placement_rows(config, placement(config, nodes, use_gpu), use_gpu)
    return "planned " + "; ".join(f"{what}: {where}" for what, where in described.items())


def placement_rows(config: RunConfig, placed: Placement, use_gpu: bool) -> dict[str, str]:
    """What runs where, by kind of process."""
    readers = config.train.num_workers * config.data.cpus
    room = sum(placed.readers.values())
    each = "1 CPU and 1 GPU each" if use_gpu else "1 CPU each"
    fewest, most = config.train.fewest_workers, config.train.num_workers
    workers = f"{most if fewest == most else f'{fewest} to {most}'} of {each}: {_where(placed.workers)}"
    few = f"; that is {room}, too few" if room < readers else ""
    return {
        "workers": workers + (f"; {placed.unplaced} find no room" if placed.unplaced else ""),
        "readers": f"{readers} at once of 1 CPU each; room for {_where(placed.readers)}{few}",
    }


def _where(counts: dict[str, int]) -> str:
    named = [f"{count} on {name}" for name, count in counts.items()]
    return ", ".join(named[:4]) + (f", and {len(named) - 4} more nodes" if len(named) > 4 else "") or "none"
