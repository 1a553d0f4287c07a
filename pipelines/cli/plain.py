"""A recipe, or plain data in its place: one function for all verbs that take either."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig


def add_options(parser: argparse.ArgumentParser, *, budget: bool) -> None:
    """
    Args:
        budget: whether the verb can rehearse, which takes this machine or the cluster that it is on.
    """
    data = parser.add_argument_group("with a folder or file of images or time series in place of a recipe")
    data.add_argument("--save", type=Path, metavar="YAML", help="write the recipe that was chosen for it")
    if budget:
        text = "e.g. 90s, 20m, 2h: choose steps and encoder width from a rehearsal on this machine"
        data.add_argument("--budget", metavar="TIME", help=text)


def config_of(options: argparse.Namespace) -> "RunConfig":
    """The config of a recipe, or the one chosen for plain data, which is then printed with why.

    Raises:
        UserError: no such recipe or path; a mistake in it; data that are not recognized.
    """
    from pipelines.data.recognize.kinds import is_data

    save, budget = getattr(options, "save", None), getattr(options, "budget", None)
    if not is_data(options.recipe):
        if given := "--budget" if budget is not None else "--save" if save is not None else None:
            raise UserError(f"{given}: is for a folder or file of data in place of a recipe; {options.recipe} is none")
        from pipelines.config.parse import load

        return load(options.recipe, options.set)
    return _chosen(Path(options.recipe), options.set, save, budget)


def _chosen(path: Path, changes: dict[str, Any], save: Path | None, budget: str | None) -> "RunConfig":
    from pipelines.cli import budget as budgets
    from pipelines.config.parse import checked, with_changes
    from pipelines.data.recognize import kept
    from pipelines.data.recognize.recipe import propose
    from pipelines.storage.root import storage_root
    from pipelines.tracking.display import say

    began, budget_s, before = time.monotonic(), None, None
    if budget is not None:
        from pipelines.train.plan.budget import duration

        budget_s = duration(budget)
        budgets.check_changes(changes)
    proposed = propose(path)
    tree, lines = with_changes(proposed.tree, changes), list(proposed.lines)
    for line in lines:
        say(line)
    config = checked(tree)
    root = storage_root(config)
    kept.check_name(root, config.name, tree["source"])
    place = kept.place(root, config.name, budget_s)
    if budget_s is not None:
        before = kept.chosen_before(place, tree)
        if before is not None:
            chosen, why = before, f"the choice kept in {place} is reused; delete it to rehearse again"
        else:
            fixed = any(key.startswith("encoder") for key in changes)
            chosen, why = budgets.fit(tree, budget_s, root, began, fixed)
        tree = kept.with_choice(tree, chosen)
        lines.append(f"budget:     {why}")
        say(lines[-1])
        config = checked(tree)
    say(kept.to_yaml(tree).rstrip())
    text = kept.text_of(tree, lines)
    if save is not None:
        kept.save(save, text)
    if before is None:  # a choice that is reused stays as it was written
        kept.keep(place, text)
    say(f"kept:       {place}; every verb takes it as its recipe")
    return config
