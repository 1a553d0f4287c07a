"""Probes on cached features, 50,000 x 512 in 10 classes: `python -m tests.benchmarks probes`.

First every probe once, at its defaults, and the resamples behind their intervals, in wall time on all cores, then the
linear probe and kNN against scikit-learn on one thread, in CPU time. Both sides of the linear race do the same: fit all
strengths on nine tenths of train, choose on the rest, fit the chosen one on all of train. Takes about six minutes,
nearly all scikit-learn's.
"""

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ssl_core import catalog
from ssl_core.evaluate._maths.features import standardized, stratified_slice
from ssl_core.evaluate._maths.resample import replicates
from ssl_core.evaluate.base import Labelled, Score
from ssl_core.evaluate.knn import KNN
from ssl_core.evaluate.linear_probe import LinearProbe
from ssl_core.noise import salt
from tests.benchmarks.runner import CPU, Contender, Outcome, Race, Row, Spread, Work, goal, race, spread

WIDTH, CLASSES = 512, 10
SWEPT, QUERIES = 20_000, 1000  # of train and of test: what scikit-learn does in minutes
RESAMPLES = 1000  # behind the intervals of all scores
OURS, THEIRS = "selfray", "scikit-learn"
STRENGTHS = LinearProbe.Config().l2


def run(quick: bool = False) -> Outcome:
    num_train, num_test, rounds = (1500, 500, 1) if quick else (50_000, 10_000, 3)
    l2 = STRENGTHS[:3] if quick else STRENGTHS  # scikit-learn's steps grow as they weaken
    train, test = features(num_train, 0), features(num_test, 1)
    torch.set_num_threads(1 if quick else os.cpu_count() or 1)  # on a busy machine two threads wait for each other
    rows, total = every_probe(train, test)
    torch.set_num_threads(1)
    swept = Labelled(train.features[:SWEPT], train.label[:SWEPT])
    asked = Labelled(test.features[:QUERIES], test.label[:QUERIES])
    top1: dict[str, float] = {}
    linear = _race(_linear(swept, test, l2, top1), _sklearn_linear(swept, test, l2, top1), 1)
    linear_rows = _rows(linear, f"linear, {len(l2)} strengths, {len(swept.label):,} x {WIDTH}", top1)
    linear_lost = top1[THEIRS] - top1[OURS]
    nearest = _race(_knn(train, asked, top1), _sklearn_knn(train, asked, top1), rounds)
    nearest_rows = _rows(nearest, f"kNN, k = 200, {num_train:,} x {WIDTH}", top1)
    goals = [
        goal(f"probes: seconds for all, {num_train:,} x {WIDTH}, {os.cpu_count()} cores", total, at_most=60),
        goal("probes: linear sweep, rate over scikit-learn's", linear.ratio(OURS, (THEIRS,)), at_least=10),
        goal("probes: linear sweep, accuracy lost to scikit-learn", spread([linear_lost]), at_most=0.002),
        goal("probes: kNN, rate over scikit-learn's", nearest.ratio(OURS, (THEIRS,)), at_least=1),
        goal("probes: kNN, accuracy lost to scikit-learn", spread([top1[THEIRS] - top1[OURS]]), at_most=0.002),
    ]
    tables = {"Seconds per probe": rows, "Against scikit-learn, one thread": linear_rows + nearest_rows}
    return Outcome(tables, goals)


def features(count: int, seed: int) -> Labelled:
    """Classes that overlap: a linear probe reads about three quarters, kNN less than half.

    Variances fall as i^-2 along axes that are none of the features' own, as in an encoder: what is standardized per
    dimension stays correlated. (Were it not, L-BFGS would need a tenth of its steps.)
    """
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (count,), generator=generator)
    noise = torch.randn(count, WIDTH, generator=generator)
    fixed = torch.Generator().manual_seed(99)
    centers = torch.randn(CLASSES, WIDTH, generator=fixed)
    rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=fixed)).Q  # [D, D]
    rank = torch.arange(1, WIDTH + 1)  # [D]
    return Labelled((centers[label] * rank**-1.5 + noise / rank) @ rotation, label)


def every_probe(train: Labelled, test: Labelled) -> tuple[list[Row], Spread]:
    rows: list[Row] = []
    every: dict[str, Score] = {}
    for name in catalog.names("ssl_core.evaluate"):
        component = catalog.find("ssl_core.evaluate", name)
        began, used = time.perf_counter(), time.process_time()
        scores = component(component.Config()).measure(train, test, seed=0)
        rows.append({"probe": name, "seconds": time.perf_counter() - began, "CPU seconds": time.process_time() - used})
        rows[-1]["best top-1"] = max((s.value for name, s in scores.items() if "_top1" in name), default="-")
        every |= scores
    began, used = time.perf_counter(), time.process_time()
    replicates(every, len(test.label), seed=0, resamples=RESAMPLES)
    rows.append({"probe": f"{RESAMPLES:,} resamples", "seconds": time.perf_counter() - began})
    rows[-1] |= {"CPU seconds": time.process_time() - used, "best top-1": "-"}
    rows.append({key: sum(row[key] for row in rows) for key in ("seconds", "CPU seconds")})
    rows[-1] = {"probe": "all", **rows[-1], "best top-1": "-"}
    return rows, spread([rows[-1]["seconds"]])


def _race(ours: Work, theirs: Work, rounds: int) -> Race:
    return race([Contender(OURS, ours), Contender(THEIRS, theirs)], rounds, CPU)


def _rows(raced: Race, case: str, top1: dict[str, float]) -> list[Row]:
    rows = raced.rows(case, "fits or queries per CPU second", {"x scikit-learn": (THEIRS,)})
    return [row | {"top-1": top1[row["contender"]]} for row in rows]


def _linear(train: Labelled, test: Labelled, l2: tuple[float, ...], top1: dict[str, float]) -> Work:
    probe = LinearProbe(LinearProbe.Config(l2=l2))
    return _scored(OURS, top1, len(l2) + 1, lambda: probe(_anew(train), _anew(test), 0)["linear_top1"])


def _sklearn_linear(train: Labelled, test: Labelled, l2: tuple[float, ...], top1: dict[str, float]) -> Work:
    x, x_test = (part.numpy() for part in standardized(train.features, test.features))
    y, held = train.label.numpy(), stratified_slice(train.label, 10, salt(0)).numpy()

    def fitted(rows: np.ndarray, strength: float) -> LogisticRegression:
        return LogisticRegression(C=1 / (int(rows.sum()) * strength), max_iter=1000).fit(x[rows], y[rows])

    def score() -> float:
        chosen = max(l2, key=lambda strength: fitted(~held, strength).score(x[held], y[held]))
        return float(fitted(np.ones_like(held), chosen).score(x_test, test.label.numpy()))

    return _scored(THEIRS, top1, len(l2) + 1, score, warms_up=False)


def _knn(train: Labelled, test: Labelled, top1: dict[str, float]) -> Work:
    probe = KNN(KNN.Config(k=(200,)))
    return _scored(OURS, top1, len(test.label), lambda: probe(_anew(train), _anew(test), 0)["knn_top1_k200"])


def _anew(split: Labelled) -> Labelled:
    """A split that no probe has kept anything of: each round does the whole work."""
    return Labelled(split.features, split.label)


def _sklearn_knn(train: Labelled, test: Labelled, top1: dict[str, float]) -> Work:
    unit, queries = (torch.nn.functional.normalize(s.features, dim=1).numpy() for s in (train, test))
    # on unit vectors squared distance is 2 - 2 cosine, so the neighbors and the weights are ours
    model = KNeighborsClassifier(200, algorithm="brute", weights=lambda d: np.exp(-d * d / 2 / 0.07))
    model.fit(unit, train.label.numpy())
    return _scored(THEIRS, top1, len(queries), lambda: float(model.score(queries, test.label.numpy())))


def _scored(
    name: str, top1: dict[str, float], count: int, score: Callable[[], float], *, warms_up: bool = True
) -> Work:
    """`count` pieces of work that end in an accuracy, which is noted under the contender's name."""

    def work(number: int) -> int:
        if number >= 0 or warms_up:
            top1[name] = score()
        return count

    return work
