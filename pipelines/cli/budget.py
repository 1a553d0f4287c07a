"""`--budget`: encoder width and steps that fit into a time, from rehearsals on this machine."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.config.parse import checked, with_changes
from pipelines.config.run import RunConfig
from pipelines.errors import UserError

FIXED = ("train.epochs", "train.steps")
"""Keys that a budget chooses, and that cannot be given beside it."""


def check_changes(changes: Mapping[str, Any]) -> None:
    """
    Raises:
        UserError: `--set` gives what the budget chooses.
    """
    if given := [key for key in FIXED if key in changes]:
        raise UserError(f"--set {given[0]}: --budget chooses the steps; leave one of the two out")


def fit(tree: Mapping[str, Any], budget_s: int, root: Path, began: float, fixed: bool) -> tuple[dict[str, Any], str]:
    """Ingest where that is not done, rehearse, choose.

    Args:
        tree: the recipe without a budget.
        began: `time.monotonic()` at the start of the command; what has passed since is spent.
        fixed: the width of the encoder is given.
    Returns: dotted keys of what is chosen, and why.
    Raises:
        UserError: too short a budget, or there is no room to rehearse.
    """
    config = checked(tree)
    from pipelines import flow
    from pipelines.data.shards.shard_set import ShardSet
    from pipelines.runtime import capacity, session
    from pipelines.tracking.display import clock, say
    from pipelines.train.plan import budget, forecast

    try:
        session.connect(config)
        from pipelines.data.batches.stream import training_order
        from pipelines.data.shards import manifest
        from pipelines.train.plan.rehearsal import rehearse
        from pipelines.train.pretrain import on_gpus

        shards = flow.up_to("ingest", config, root)
        assert isinstance(shards, ShardSet)
        per_epoch = training_order(config, manifest.load(shards.folder)).batches_per_epoch
        wanted, samples = config.train.num_steps(per_epoch), shards.num_train + shards.num_test
        key, widths = budget.WIDTHS.get(config.encoder.name, ("", (0,)))
        width = getattr(config.encoder, key) if key else 0
        widths = (width,) if fixed else widths
        tried, fitting = dict[int, tuple[RunConfig, Any]](), dict[int, int]()
        next_: int | None = width
        while next_ is not None:
            trial = checked(with_changes(tree, {f"encoder.{key}": next_} if key else {}))
            say(f"budget:     rehearsing encoder {trial.encoder.name}" + (f", {key} {next_}" if key else ""))
            started = time.monotonic()
            found = rehearse(trial, shards, on_gpus(trial, capacity.num_gpus()))
            if found is None:
                raise UserError("--budget: no room to rehearse; `selfray plan` says what is lacking")
            tried[next_] = trial, found
            now = time.monotonic()
            spent = now - began
            for each, (with_width, measured) in tried.items():
                left = budget_s - budget.around(with_width, measured, samples, spent)
                fitting[each] = budget.steps_within(with_width, measured, left)
            next_ = budget.next_width(widths, fitting, wanted, now - started, left)
        width, steps = budget.choose(fitting, wanted)
        config, measured = tried[width]
        fewest = min(budget.FEWEST_STEPS, wanted)
        budget.check(config, measured, steps, fewest, budget_s, budget.around(config, measured, samples, spent))
    except BaseException:
        session.close()
        raise
    took = clock(forecast.seconds(config, measured, steps))
    why = f"{steps} steps ({steps / per_epoch:.3g} epochs) with encoder {config.encoder.name}"
    why += (f", {key} {width}" if key else "") + f": {took} of training at {measured.step_s:.3g} s a step, "
    why += f"{clock(spent)} spent"
    longest = steps == budget.LONGEST * wanted
    why += f"; the rest is left: {budget.LONGEST} times the recipe's own steps are enough" if longest else ""
    return {"train.steps": steps} | ({f"encoder.{key}": width} if key else {}), why
