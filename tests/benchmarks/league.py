"""Every image method on CIFAR-10 for ten minutes of two CPU cores: `python -m tests.benchmarks league --data DIR`.

One recipe `cifar10_METHOD` after the other: a rehearsal of some seconds says how many steps fit into the time, the run
trains as many and is evaluated. What is done is kept in league.json beside this file, and an interrupted league goes on
with the method, and the step, where it stopped. `--only METHOD ...` runs some of them; `--minutes` another budget.
The table and the picture are those of docs/results.md.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from pipelines import flow
from pipelines.config import recipe_file
from pipelines.config.parse import load
from pipelines.config.run import RunConfig
from pipelines.data.shards.shard_set import ShardSet
from pipelines.evaluate.artifact import ProbeReport
from pipelines.runtime import capacity, session
from pipelines.train.plan import forecast
from pipelines.train.plan.rehearsal import rehearse
from pipelines.train.pretrain import on_gpus
from tests.benchmarks import corpus, league_page
from tests.benchmarks.runner import Outcome, goal, spread

STORAGE = Path(gettempdir()) / f"selfray-league-{os.getuid()}"
ROWS = Path(__file__).with_name("league.json")
PREFIX = "cifar10_"
LEFT_OUT = ("simclr_gpu",)
SEEDS = dict.fromkeys(("simclr", "byol", "barlow_twins", "mae", "dino"), (0, 1))
"""Of the others one run each."""
MINUTES = 10.0
ONLY: Sequence[str] = ()
"""Methods to run; empty: all."""
EVALUATE = {  # the recipe's own `evaluate.layer` stays
    "evaluate.probes": [
        {"name": "knn"},
        {"name": "linear_probe"},
        {"name": "few_label", "per_class": [5], "percent": []},
        {"name": "retrieval"},
    ],
    "evaluate.robustness": {"severities": [3], "max_samples": 1000},
    "evaluate.leaks": False,
}
SCORES = ("knn_top1_k200", "linear_top1", "few_label_n5_top1", "retrieval_map")
QUICK = {"train.steps": 8, "train.global_batch_size": 64, "evaluate.max_samples": 500, "evaluate.robustness": None}


def run(quick: bool = False) -> Outcome:
    rows = {} if quick or not ROWS.exists() else json.loads(ROWS.read_text())
    for method in _chosen(quick):
        for seed in (0,) if quick else SEEDS.get(method, (0,)):
            key = f"{method} {seed}"
            if rows.get(key, {}).get("minutes") != MINUTES:
                rows[key] = _trained(method, seed, quick)
                if not quick:
                    _keep(rows)
    session.close()
    if not quick:
        league_page.write(rows.values())
    table = league_page.table(rows.values())
    if quick:
        return Outcome({f"{QUICK['train.steps']} steps on the handwritten digits: shows that it runs": table}, [])
    return Outcome({league_page.HEADING.format(minutes=MINUTES): table}, list(_goals(rows)))


def recipes() -> dict[str, str]:
    """Method, or variant of one -> recipe."""
    named = {name.removeprefix(PREFIX): name for name in recipe_file.shipped() if name.startswith(PREFIX)}
    return {method: recipe for method, recipe in named.items() if method not in LEFT_OUT}


def _chosen(quick: bool) -> list[str]:
    known = recipes()
    if unknown := sorted(set(ONLY) - set(known)):
        raise SystemExit(f"--only: no recipe {PREFIX}{unknown[0]}; there are {', '.join(known)}")
    return list(ONLY) or (["simclr", "mae"] if quick else list(known))


def _trained(method: str, seed: int, quick: bool) -> dict[str, Any]:
    """Train and evaluate one method; what is kept of it."""
    config = _config(method, {"seed": seed}, quick)
    session.connect(config)
    shards = flow.up_to("ingest", config, STORAGE)
    assert isinstance(shards, ShardSet)
    found = rehearse(config, shards, on_gpus(config, capacity.num_gpus()))
    if found is None:
        raise SystemExit("league: no room for a worker and its reader on this machine")
    steps = QUICK["train.steps"] if quick else max(1, int(60 * MINUTES / found.step_s))
    config = _config(method, {"seed": seed, "train.epochs": None, "train.steps": steps}, quick)
    report = flow.up_to("evaluate", config, STORAGE)
    assert isinstance(report, ProbeReport)
    scores, batch = report.scores, config.train.global_batch_size
    return {
        "method": method,
        "seed": seed,
        "minutes": MINUTES,
        "encoder": league_page.sized(config.encoder, config.evaluate.layers),
        "batch": batch,
        "steps": steps,
        "epochs": round(steps * batch / shards.num_train, 1),
        "samples_per_s": round(batch / found.step_s, 1),
        "worker_mb": round(found.worker_bytes / 1e6),
        "train_seconds": round(forecast.seconds(config, found, int(steps))),
        "num_test": scores.num_test,
        "scores": _of(scores.encoder),
        "random_init": _of(scores.random_init),
        "raw_input": _of(scores.raw_input),
        "intervals": _of(scores.intervals),
        "gains": _of(scores.gains),
        "rankme": scores.health.get("rankme"),
        "robustness": scores.encoder.get("robust_top1"),
    }


def _of(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in SCORES if name in found}


def _config(method: str, changes: dict[str, Any], quick: bool) -> RunConfig:
    fixed = {"storage": str(STORAGE), "train.monitor_samples": 0, **EVALUATE}
    if quick:
        fixed |= {"source": {"name": "digits"}, "train.epochs": None}
        return load(recipes()[method], fixed | changes | QUICK)
    return load(recipes()[method], fixed | corpus.cifar10_files() | changes)


def _keep(rows: dict[str, Any]) -> None:
    ROWS.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")


def _goals(rows: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Of methods.md 9.6, kNN and linear."""
    for method, wanted in league_page.GOALS.items():
        mine = [row for row in rows.values() if row["method"] == method and row["minutes"] == MINUTES]
        for name, at_least in zip(SCORES, wanted, strict=False):
            measured = spread([row["scores"][name] for row in mine]) if mine else None
            yield goal(f"league: {method}, {name}", measured, at_least=at_least)
