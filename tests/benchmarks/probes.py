"""Probes on cached features, 50,000 x 512 in 10 classes: `python -m tests.benchmarks probes`.

First every probe once, at its defaults, in wall time on all cores, then the linear probe and kNN against scikit-learn
on one thread, in CPU time. Both sides of the linear race do the same: fit all strengths on nine tenths of train, choose
on the rest, fit the chosen one on all of train. Takes some five minutes of an idle core, nearly all scikit-learn's.
"""

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ssl_core import catalog
from ssl_core.evaluate._features import standardized, stratified_slice
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.knn import KNN
from ssl_core.evaluate.linear_probe import LinearProbe
from ssl_core.noise import salt
from tests.benchmarks.runner import CPU, Contender, Outcome, Row, Spread, Work, goal, race, spread

WIDTH, CLASSES, QUERIES = 512, 10, 1000
OURS, THEIRS = "selfray", "scikit-learn"
STRENGTHS = LinearProbe.Config().l2
FITS = len(STRENGTHS) + 1


def run(quick: bool = False) -> Outcome:
    num_train, num_test, rounds = (1500, 500, 1) if quick else (50_000, 10_000, 3)
    train, test = features(num_train, 0), features(num_test, 1)
    torch.set_num_threads(os.cpu_count() or 1)
    rows, total = every_probe(train, test)
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    linear = race(
        [Contender(OURS, _linear(train, test, found)), Contender(THEIRS, _sklearn_linear(train, test, found))], 1, CPU
    )
    some = Labelled(test.features[:QUERIES], test.label[:QUERIES])
    nearest = race(
        [Contender(OURS, _knn(train, some, found)), Contender(THEIRS, _sklearn_knn(train, some, found))], rounds, CPU
    )
    peers = {"x scikit-learn": (THEIRS,)}
    size = f"{num_train:,} x {WIDTH}"
    raced: list[Row] = [
        *(row | {"top-1": found[f"linear, {row['contender']}"]} for row in linear.rows(
            f"linear, {len(STRENGTHS)} strengths, {size}", "fits or queries per CPU second", peers)),
        *(row | {"top-1": found[f"knn, {row['contender']}"]} for row in nearest.rows(
            f"kNN, k=200, {size}", "fits or queries per CPU second", peers)),
    ]  # fmt: skip
    lost = {probe: found[f"{probe}, {THEIRS}"] - found[f"{probe}, {OURS}"] for probe in ("linear", "knn")}
    goals = [
        goal(f"probes: seconds for all of them, {size}, {os.cpu_count()} cores", total, at_most=60),
        goal("probes: linear sweep, rate over scikit-learn's", linear.ratio(OURS, (THEIRS,)), at_least=10),
        goal("probes: linear sweep, accuracy lost to scikit-learn", spread([lost["linear"]]), at_most=0.002),
        goal("probes: kNN, rate over scikit-learn's", nearest.ratio(OURS, (THEIRS,)), at_least=1),
        goal("probes: kNN, accuracy lost to scikit-learn", spread([lost["knn"]]), at_most=0.002),
    ]
    return Outcome({f"Seconds per probe, {size}": rows, "Against scikit-learn, one thread": raced}, goals)


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
    for name in catalog.names("ssl_core.evaluate"):
        component = catalog.find("ssl_core.evaluate", name)
        began, used = time.perf_counter(), time.process_time()
        scores = component(component.Config())(train, test, seed=0)
        rows.append({"probe": name, "seconds": time.perf_counter() - began, "CPU seconds": time.process_time() - used})
        rows[-1]["best score"] = max(scores.values())
    rows.append({key: sum(row[key] for row in rows) for key in ("seconds", "CPU seconds")})
    rows[-1] = {"probe": "all", **rows[-1], "best score": "-"}
    return rows, spread([rows[-1]["seconds"]])


def _linear(train: Labelled, test: Labelled, found: dict[str, float]) -> Work:
    return _scored(
        f"linear, {OURS}", found, FITS, lambda: LinearProbe(LinearProbe.Config())(train, test, 0)["linear_top1"]
    )


def _sklearn_linear(train: Labelled, test: Labelled, found: dict[str, float]) -> Work:
    x, x_test = (part.numpy() for part in standardized(train.features, test.features))
    y, held = train.label.numpy(), stratified_slice(train.label, 10, salt(0)).numpy()

    def score() -> float:
        kept = int((~held).sum())
        candidates = [
            LogisticRegression(C=1 / (kept * l2), max_iter=1000).fit(x[~held], y[~held]).score(x[held], y[held])
            for l2 in STRENGTHS
        ]
        best = STRENGTHS[int(np.argmax(candidates))]
        final = LogisticRegression(C=1 / (len(x) * best), max_iter=1000).fit(x, y)
        return float(final.score(x_test, test.label.numpy()))

    return _scored(f"linear, {THEIRS}", found, FITS, score, warm=False)


def _knn(train: Labelled, test: Labelled, found: dict[str, float]) -> Work:
    probe = KNN(KNN.Config(k=(200,)))
    return _scored(f"knn, {OURS}", found, len(test.label), lambda: probe(train, test, 0)["knn_top1_k200"])


def _sklearn_knn(train: Labelled, test: Labelled, found: dict[str, float]) -> Work:
    unit, queries = (torch.nn.functional.normalize(s.features, dim=1).numpy() for s in (train, test))
    # on unit vectors: squared distance is 2 - 2 cosine, so the neighbors and the weights are ours
    model = KNeighborsClassifier(200, algorithm="brute", weights=lambda d: np.exp(-d * d / 2 / 0.07))
    model.fit(unit, train.label.numpy())
    return _scored(f"knn, {THEIRS}", found, len(queries), lambda: float(model.score(queries, test.label.numpy())))


def _scored(name: str, found: dict[str, float], count: int, score: Callable[[], float], *, warm: bool = True) -> Work:
    def work(number: int) -> int:
        if number >= 0 or warm:
            found[name] = score()
        return count

    return work
