"""Are `exact` and `fused` views worth the same? Short SimCLR runs, 3 seeds each: `python -m tests.benchmarks modes`.

The recipe cifar10_simclr with 2 of its 11 epochs, once with each mode per seed, scored by frozen features on the test
split. Twenty minutes on two idle cores, so `make bench` leaves it out; interrupted, it goes on where it stopped.
"""

import os
import statistics
from pathlib import Path
from tempfile import gettempdir

from pipelines import flow
from pipelines.config.parse import load
from pipelines.evaluate.artifact import ProbeReport
from pipelines.runtime import session
from tests.benchmarks.corpus import cifar10
from tests.benchmarks.runner import Outcome, Row, goal, spread

STORAGE = Path(gettempdir()) / f"selfray-modes-{os.getuid()}"
SEEDS = (0, 1, 2)
SCORES = {"knn_top1_k20": "kNN k=20", "linear_top1": "linear"}
QUICK = {"source": {"name": "digits"}, "train.epochs": None, "train.steps": 4, "train.global_batch_size": 64}


def run(quick: bool = False) -> Outcome:
    scores = {
        mode: [_scores(mode, seed, quick) for seed in SEEDS[: 1 if quick else None]] for mode in ("exact", "fused")
    }
    session.close()
    rows: list[Row] = [
        {"views": mode, **{text: spread([s[name] for s in found]) for name, text in SCORES.items()}}
        for mode, found in scores.items()
    ]
    goals = [] if quick else [_same(name, text, scores) for name, text in SCORES.items()]
    return Outcome({f"Top-1 on test, median and quartiles of {len(SEEDS)} seeds": rows}, goals)


def _scores(mode: str, seed: int, quick: bool) -> dict[str, float]:
    changes = {"train.epochs": 2, "views.global.mode": mode, "seed": seed, "name": f"modes-{mode}"}
    config = load("cifar10_simclr", changes | QUICK) if quick else cifar10(changes)
    made = flow.up_to("evaluate", config, STORAGE / ("quick" if quick else "whole"))
    assert isinstance(made, ProbeReport)
    return dict(made.scores.encoder)


def _same(name: str, text: str, scores: dict[str, list[dict[str, float]]]) -> Row:
    """The difference of the means, in standard errors of that difference over seeds."""
    exact, fused = ([found[name] for found in scores[mode]] for mode in ("exact", "fused"))
    error = ((statistics.variance(exact) + statistics.variance(fused)) / len(SEEDS)) ** 0.5
    apart = abs(statistics.mean(exact) - statistics.mean(fused)) / error
    return goal(f"modes: exact and fused apart on {text}, in standard errors", spread([apart]), at_most=2)
