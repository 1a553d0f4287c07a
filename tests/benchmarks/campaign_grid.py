"""The learning curves behind the campaign benchmark: a grid trained in full, on a local Ray Tune."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.config.parse import load
from pipelines.data import ingest
from pipelines.runtime import session
from pipelines.stage import Nothing
from pipelines.tracking import provenance
from pipelines.tuning import space
from pipelines.tuning.campaign import Campaign
from pipelines.tuning.plan import Plan
from pipelines.tuning.trials.ray_tune import max_concurrent, run_trials
from pipelines.tuning.tune import work_of


def record(keys: Mapping[str, Sequence[Any]], metric: str, epochs: int = 27) -> dict[str, Any]:
    """Train every config; one trial at a time, so that their seconds do not mix.

    Returns: per trial its values, looks and how it ended; seconds per trial beyond its training (start, stop, looks and
        decisions), and how many of these were looks.
    """
    finite = {key: {"choice": list(values)} for key, values in keys.items()}
    tune = {"space": finite, "searcher": "grid", "scheduler": "none", "num_trials": 10_000, "metric": metric}
    config = load("digits", {"train.epochs": epochs, "train.monitor_samples": 0, "tune": {**tune, "holdout": 0.5}})
    with TemporaryDirectory() as folder:
        root = Path(folder)
        session.connect(config)
        try:
            shards = ingest.run(config, Nothing(), root)
            made = Campaign(
                Plan(recipe=space.tree(config), tune=space.section(config), shards=shards, at_a_time=1),
                root / "campaign",
                config.seed,
                work_of(shards, root),
            )
            made.folder.mkdir()
            made.plan.keep(made.folder)
            max_concurrent(config, 1)
            began = time.monotonic()
            run_trials(made, made.next_search, config, 1)
            wall = time.monotonic() - began
        finally:
            session.close()
    if holes := [trial for trial in made.trials if not trial.looks]:
        raise RuntimeError(f"trial {holes[0].number} was never looked at: {holes[0].reason}")
    looked = sum(look.values["look_seconds"] for trial in made.trials for look in trial.looks)
    trained = sum(trial.seconds for trial in made.trials) - looked
    return {
        "machine": provenance.environment()["cpu"],
        "metric": metric,
        "beyond_training_seconds": (wall - trained) / len(made.trials),
        "look_seconds": looked / len(made.trials),
        "trials": [
            {
                "values": [trial.changes[key] for key in keys],
                "state": trial.state,
                "looks": [{"score": look.values[metric], "seconds": look.seconds} for look in trial.looks],
            }
            for trial in made.trials
        ],
    }
