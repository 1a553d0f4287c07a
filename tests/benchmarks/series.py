"""Methods of time series on seven UCR / UEA problems: `python -m tests.benchmarks series --data DIR`.

DIR holds a folder per problem with train.parquet and test.parquet (`series`, `label_name`). Every method trains on the
train part of a problem without its labels and is scored by a linear probe on the test part; SEEDS of each. What is done
is kept below the temp folder: interrupted, it goes on where it stopped.
"""

import os
import statistics
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pyarrow.parquet as pq

from pipelines import flow
from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.evaluate.artifact import ProbeReport
from pipelines.runtime import session
from tests.benchmarks import corpus
from tests.benchmarks.runner import Outcome, Row, Spread, goal, spread

STORAGE = Path(gettempdir()) / f"selfray-series-{os.getuid()}"
PROBLEMS = ("ACSF1", "ArrowHead", "BasicMotions", "GunPoint", "ItalyPowerDemand", "JapaneseVowels", "OSULeaf")
SEEDS = (0, 1, 2)
SCORE = "linear_top1"
STEPS, QUICK_STEPS, BATCH = 200, 4, 16
LONGEST = 256
"""Steps of a view; longer series are resampled to it."""
VIEW = {"crop_min": 0.5, "jitter": 0.05, "scaling": 0.1, "mask_ratio": 0.1}
PLAIN = {"crop_min": 1.0, "jitter": 0.0, "scaling": 0.0, "mask_ratio": 0.0}
METHODS: dict[str, dict[str, Any]] = {
    "simclr, series_conv": {
        "method": {"name": "simclr", "temperature": 0.2, "hidden_dim": 256},
        "encoder": {"name": "series_conv", "width": 32, "depth": 4},
        "view": VIEW,
    },
    "ts2vec, dilated_conv": {
        "method": {"name": "ts2vec"},
        "encoder": {"name": "dilated_conv", "hidden_dim": 64, "dim": 320, "depth": 8},
        "view": PLAIN,
    },
    "mae, patch_transformer": {
        "method": {"name": "mae", "mask_ratio": 0.4, "decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 4},
        "encoder": {"name": "patch_transformer", "patch_size": 8, "dim": 128, "depth": 4, "heads": 4},
        "view": PLAIN | {"crop_min": 0.5},
    },
}
ANCHORS = {  # methods.md 3.2: 1-NN on half of the test part, and published figures on all of it
    "1-NN, Euclidean": (0.500, 0.708, 0.550, 0.880, 0.957, 0.914, 0.500),
    "1-NN, DTW (published)": (0.640, 0.703, 0.975, 0.907, 0.950, 0.949, 0.591),
    "T-Loss, SVM (published)": (0.81, 0.829, 1.0, 0.993, 0.925, 0.989, 0.831),
}
ONLY_LINEAR = {"probes": [{"name": "linear_probe"}], "resamples": 0, "view_samples": 0, "leaks": False}


def run(quick: bool = False) -> Outcome:
    found: dict[str, dict[str, Spread]] = {}
    floors: dict[str, dict[str, Spread]] = {}
    for problem in PROBLEMS[1:2] if quick else PROBLEMS:
        for method in METHODS:
            reports = [_trained(problem, method, seed, quick) for seed in SEEDS[: 1 if quick else None]]
            found.setdefault(method, {})[problem] = spread([report.scores.encoder[SCORE] for report in reports])
            drawn = [report.scores.random_init[SCORE] for report in reports]
            floors.setdefault(f"random init, {method.partition(', ')[2]}", {})[problem] = spread(drawn)
            raw = [reports[0].scores.raw_input[SCORE]]
            floors.setdefault("statistics of the series", {})[problem] = spread(raw)
    session.close()
    rows = [_row(name, of) for name, of in (found | floors).items()]
    if not quick:
        rows += [_row(name, dict(zip(PROBLEMS, map(_point, of), strict=True))) for name, of in ANCHORS.items()]
    if quick:
        return Outcome({f"Linear probe of one seed, {QUICK_STEPS} steps of {BATCH}: shows that it runs": rows}, [])
    best = max(statistics.mean(each.median for each in of.values()) for of in found.values())
    goals = [goal("series: mean of seven problems, best method, linear", _point(best), at_least=0.9)]
    heading = f"Linear probe, median and quartiles of {len(SEEDS)} seeds; {STEPS} steps of {BATCH}"
    return Outcome({heading: rows}, goals)


def _trained(problem: str, method: str, seed: int, quick: bool) -> ProbeReport:
    report = flow.up_to("evaluate", _config(problem, method, seed, quick), STORAGE / ("quick" if quick else "whole"))
    assert isinstance(report, ProbeReport)
    return report


def _config(problem: str, method: str, seed: int, quick: bool) -> RunConfig:
    folder, settings = corpus.data("ucr_uea") / problem, METHODS[method]
    if not (folder / "train.parquet").exists():
        raise SystemExit(f"{folder / 'train.parquet'} is not there: give the folder of the problems, --data DIR")
    series = pq.read_table(folder / "train.parquet", columns=["series"])["series"].to_pylist()
    channels, steps = len(series[0]), max(len(each[0]) for each in series)
    length = min(LONGEST, max(16, -(-steps // 8) * 8))
    shape = {"length": length, "channels": channels}
    names = {"name": "series_parquet", "path": str(folder / "train.parquet"), "label": "label_name"}
    tree = {
        "name": f"series-{problem}-{settings['method']['name']}",
        "seed": seed,
        "source": names | {"test_path": str(folder / "test.parquet")},
        "views": {
            "global": {"name": "series_crop", **shape, **settings["view"]},
            "eval": {"name": "series_eval", **shape},
        },
        "encoder": settings["encoder"],
        "method": settings["method"],
        "optim": {"lr": 0.001, "lr_scaling": "none"},
        "train": {"steps": QUICK_STEPS if quick else STEPS, "global_batch_size": BATCH, "monitor_samples": 0},
        "evaluate": ONLY_LINEAR,
    }
    return parse(tree)


def _row(name: str, of: dict[str, Spread]) -> Row:
    return {"method": name, **of, "mean": statistics.mean(each.median for each in of.values())}


def _point(value: float) -> Spread:
    return Spread(value, value, value)
