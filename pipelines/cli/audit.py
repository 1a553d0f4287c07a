"""audit: what a pre-training consumed."""

import argparse
from pathlib import Path

from pipelines.cli.base import Verbs
from pipelines.errors import UserError


def add(verbs: Verbs) -> None:
    text = "was every sample consumed exactly once? RECIPE or the folder of a pre-training"
    verbs.add_for_recipe("audit", text, _audit)


def _audit(options: argparse.Namespace) -> int:
    from pipelines.config import recipe_file
    from pipelines.config.parse import load

    folder = Path(options.recipe)
    is_recipe = not folder.is_dir() or options.recipe in recipe_file.shipped()
    config = load(options.recipe, options.set) if is_recipe else None
    from pipelines.storage import inputs
    from pipelines.storage.root import storage_root
    from pipelines.train import audit
    from pipelines.train.pretrain import PRETRAIN

    if config is not None:
        root = storage_root(config)
        made = inputs.made_from(root, PRETRAIN.name, PRETRAIN.keys(config), PRETRAIN.deciding(config))
        if not made:
            raise UserError(f"audit: this recipe has no pre-training under {root} yet")
        folder = made[-1]
    found = audit.of_run(folder.absolute())
    print(found.markdown(), end="")
    return 0 if found.is_exact else 1
