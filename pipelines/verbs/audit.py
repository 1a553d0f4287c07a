"""audit: what a pre-training consumed."""

import argparse
from pathlib import Path

from pipelines.errors import UserError
from pipelines.verbs.base import Verbs


def add(verbs: Verbs) -> None:
    text = "was every sample consumed exactly once? RECIPE or the folder of a pre-training"
    verbs.add_for_recipe("audit", text, _audit)


def _audit(options: argparse.Namespace) -> int:
    from pipelines import audit, inputs, summary
    from pipelines.config import load
    from pipelines.stages.pretrain import PRETRAIN

    folder = Path(options.recipe)
    if not folder.is_dir():
        config = load(options.recipe, options.set)
        root = summary.storage_root(config)
        made = inputs.made_from(root, PRETRAIN.name, PRETRAIN.keys(config))
        if not made:
            raise UserError(f"audit: this recipe has no pre-training under {root} yet")
        folder = made[-1]
    found = audit.of_run(folder.absolute())
    print(found.markdown(), end="")
    return 0 if found.is_exact else 1
