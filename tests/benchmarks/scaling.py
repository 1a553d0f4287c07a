"""What workers and nodes bring and cost: `python -m tests.benchmarks scaling`.

Strong scaling: one global batch shared by 1, 2 and 4 training workers of one thread each, by the time of a step that is
bound by the CPU. Four workers on two cores cannot be faster than two, so speed is held against the cores there are;
the readers of all workers, their executors and the driver run on the same cores, so it is a lower bound.

Fixed cost: `selfray submit --verb pretrain` to clusters of 1, 2, 4 and 8 local nodes that read tiny blocks for one
worker, by the seconds from the command to the end of the first step. All nodes share the cores of this machine, so what
a node adds to them is an upper bound. Fifteen minutes on two idle cores, so `make bench` leaves it out.
"""

import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from cluster import local_nodes
from pipelines.runtime import session
from pipelines.storage import outbox
from pipelines.train import pretrain
from tests.benchmarks.bare_trainer import BATCH, SIZE
from tests.benchmarks.corpus import image_files, ingested, simclr
from tests.benchmarks.runner import Outcome, Row, goal, spread
from tests.benchmarks.startup import PARTS, command, first_step

ROUNDS = 3
WORKERS, NODES = (1, 2, 4), (1, 2, 4, 8)
WIDTH, STEPS = 32, 12
"""Of strong scaling: about two seconds a step on one core."""
FILLING = 2
"""First steps, in which the pipeline fills, left out."""
TINY_WIDTH, TINY_STEPS = 4, 40


def run(quick: bool = False) -> Outcome:
    some, rounds = slice(2 if quick else None), 1 if quick else ROUNDS
    with TemporaryDirectory(prefix="sr-", dir="/tmp") as name:  # short: Ray puts sockets below it
        image_files(Path(name) / "files", 512, SIZE, SIZE)
        strong = _strong(Path(name), WORKERS[some], rounds, TINY_WIDTH if quick else WIDTH)
        fixed = _fixed(Path(name), NODES[some], rounds)
    share = strong[-1]["efficiency"]
    medians = [row["sum, s"].median for row in fixed]
    added = spread([float(np.polyfit(NODES[some], medians, 1)[0])])
    per_core = f"scaling: speed of {strong[-1]['workers']} workers over one, per core they have"
    per_node = "scaling: seconds from submit to first step that each node adds"
    return Outcome(
        {"Steps of one global batch": strong, "Seconds of each part, one after the other": fixed},
        [
            goal(per_core, share, at_least=0.8, why="readers and executors take their time from the workers' cores"),
            goal(per_node, added, at_most=1, why="each node brings a raylet and its agents to the same cores"),
        ],
    )


def _strong(folder: Path, counts: tuple[int, ...], rounds: int, width: int) -> list[Row]:
    cores = os.cpu_count() or 1
    changes = {"encoder.width": width, "train.steps": STEPS, "train.precision": "fp32", "train.threads": 1}
    changes |= {"ray.num_cpus": 2 * max(counts) + 1}
    configs = {n: simclr(folder / "files", folder, SIZE, BATCH, {**changes, "train.num_workers": n}) for n in counts}
    shards = ingested(configs[1], folder / "shards")
    seconds: dict[int, list[float]] = {workers: [] for workers in counts}
    waits: dict[int, list[float]] = {workers: [] for workers in counts}
    for number in range(rounds):
        for workers, config in configs.items():
            stage = folder / f"{workers}-workers-{number}"
            stage.mkdir()
            pretrain.run(config, shards, stage)
            points = _points(stage)[FILLING:]
            took = [BATCH / point["samples_per_s"] for point in points]
            waited = [point["data_wait"] * step for point, step in zip(points, took, strict=True)]
            seconds[workers].append(median(took))
            waits[workers].append(100 * sum(waited) / sum(took))
    session.close()
    speeds = {n: [one / many for one, many in zip(seconds[1], seconds[n], strict=True)] for n in counts}
    return [
        {
            "workers": workers,
            "cores they have": min(workers, cores),
            "seconds a step": spread(seconds[workers]),
            "% of it waiting for data": spread(waits[workers]),
            "speed over one worker": spread(speeds[workers]),
            "efficiency": spread([speed / min(workers, cores) for speed in speeds[workers]]),
        }
        for workers in counts
    ]


def _fixed(folder: Path, counts: tuple[int, ...], rounds: int) -> list[Row]:
    changes = {"encoder.width": TINY_WIDTH, "train.steps": TINY_STEPS, "data.block_mb": 1}
    config = simclr(folder / "files", folder / "runs", SIZE, BATCH, changes)
    recipe, cluster = folder / "bench.yaml", folder / "c"
    recipe.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command(folder, "-m", "pipelines", "ingest", str(recipe))
    rows: list[Row] = []
    try:
        made = local_nodes.up(cluster, num_nodes=1, cpus_per_node=3)  # for a worker, its reader and the driver
        submit = ("submit", str(recipe), "--verb", "pretrain", "--address", made.address, "--set")
        for count in counts:
            while len(made.nodes) < count:
                made = local_nodes.join(cluster, cpus=1)
            found = [first_step(folder, *submit, f"seed={100 * count + number}") for number in range(rounds)]
            times = [seconds for seconds, _ in found]
            rates = [[point["samples_per_s"] for point in _points(stage)] for _, stage in found]
            rows.append(
                {
                    "nodes": count,
                    "submit, imports and config, s": spread([t[PARTS[0]] for t in times]),
                    **{f"{part}, s": spread([t[part] for t in times]) for part in PARTS[1:]},
                    "sum, s": spread([sum(t.values()) for t in times]),
                    "images per second later": spread([median(rate[len(rate) // 2 :]) for rate in rates]),
                }
            )
    finally:
        local_nodes.down(cluster)
    return rows


def _points(stage: Path) -> list[dict[str, float]]:
    """What the steps of a pre-training logged; its audit logs a point too."""
    return [point.metrics for point in outbox.read(stage) if "samples_per_s" in point.metrics]
