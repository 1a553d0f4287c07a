"""Is bf16 on a CPU worth the same as fp32? Short SimCLR runs, 3 seeds each: `python -m tests.benchmarks precision`.

The first steps of the recipe cifar10_simclr, with both precisions per seed in turn, scored by kNN of frozen features on
the test split. A seed gives both the same weights to start from, the same order and the same views, so they are
compared seed by seed. About twelve minutes on two idle cores, so `make bench` leaves it out; interrupted, it goes on
where it stopped.
"""

import os
import statistics
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from pipelines import flow
from pipelines.config.parse import load
from pipelines.config.run import RunConfig
from pipelines.evaluate.artifact import ProbeReport
from pipelines.runtime import session
from pipelines.storage import outbox
from tests.benchmarks.corpus import cifar10
from tests.benchmarks.runner import Outcome, Row, goal, spread

STORAGE = Path(gettempdir()) / f"selfray-precision-{os.getuid()}"
FP32, BF16 = PRECISIONS = ("fp32", "bf16")
SEEDS = (0, 1, 2)
STEPS = 120
SCORE = "knn_top1_k20"
ONLY_KNN = {"probes": [{"name": "knn"}], "max_samples": 10_000, "resamples": 0, "view_samples": 0, "leaks": False}
QUICK = {"source": {"name": "digits"}, "train.steps": 8, "train.global_batch_size": 64, "train.log_every": 1}


def run(quick: bool = False) -> Outcome:
    top1: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in SEEDS[: 1 if quick else None]:
        for precision in PRECISIONS:
            score, rate = _trained(precision, seed, quick)
            top1[precision].append(score)
            rates[precision].append(rate)
    session.close()
    rows: list[Row] = [
        {"precision": name, "kNN k=20": spread(top1[name]), "images per second": spread(rates[name])}
        for name in PRECISIONS
    ]
    lost = [a - b for a, b in zip(top1[FP32], top1[BF16], strict=True)]
    gained = spread([b / a for a, b in zip(rates[FP32], rates[BF16], strict=True)])
    goals = [goal("precision: rate of bf16 over fp32's", gained, at_least=1.3, why="has this CPU AVX512-BF16 or AMX?")]
    if len(lost) > 1:
        error = statistics.stdev(lost) / len(lost) ** 0.5
        apart = spread([abs(statistics.mean(lost)) / error])
        goals.append(
            goal("precision: kNN lost to fp32, mean over seeds", spread([statistics.mean(lost)]), at_most=0.01)
        )
        goals.append(goal("precision: the two apart on kNN, in standard errors over seeds", apart, at_most=2))
    return Outcome({f"{STEPS} steps, median and quartiles of {len(SEEDS)} seeds": rows}, goals)


def _trained(precision: str, seed: int, quick: bool) -> tuple[float, float]:
    """kNN top-1 on test, and images per second over all steps but those before the first point."""
    config = _config({"train.precision": precision, "seed": seed, "name": f"precision-{precision}"}, quick)
    storage = STORAGE / ("quick" if quick else "whole")
    made = flow.up_to("evaluate", config, storage)
    assert isinstance(made, ProbeReport)
    stage = made.checkpoint.folder.parents[1]
    points = [point.metrics for point in outbox.read(stage) if "samples_per_s" in point.metrics][1:]
    rate = len(points) / sum(1 / point["samples_per_s"] for point in points)  # equally many steps in each
    return made.scores.encoder[SCORE], rate


def _config(changes: dict[str, Any], quick: bool) -> RunConfig:
    changes = {**changes, "train.epochs": None, "train.steps": STEPS, "train.monitor_samples": 0, "evaluate": ONLY_KNN}
    return load("cifar10_simclr", changes | QUICK) if quick else cifar10(changes)
