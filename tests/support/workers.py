"""Real gloo workers, started once per test session: the first use costs seconds, the rest milliseconds."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

PATIENCE = timedelta(seconds=60)  # a worker that failed must not leave the other one waiting


def on_workers(world: int, fn: Callable[..., Any], *args: Any) -> list[Any]:
    """Run fn(rank, *args) on `world` workers that share a process group; return the results in rank order."""
    jobs = [(fn, args)] * world  # each worker takes one: a worker inside a collective cannot take two
    return [result for _, result in sorted(_pool(world).map(_call, jobs, chunksize=1), key=lambda pair: pair[0])]


def _call(job: tuple[Callable[..., Any], tuple[Any, ...]]) -> tuple[int, Any]:
    fn, args = job
    dist.barrier()  # nobody takes a second job before everybody has taken the first
    return dist.get_rank(), fn(dist.get_rank(), *args)


@cache
def _pool(world: int) -> Any:
    spawn = mp.get_context("spawn")
    ranks = spawn.Queue()
    for rank in range(world):
        ranks.put(rank)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return spawn.Pool(world, _join, (ranks, world, port))


def _join(ranks: Any, world: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=ranks.get(), world_size=world, timeout=PATIENCE)
