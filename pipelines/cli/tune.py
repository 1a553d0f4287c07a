"""tune: a campaign."""

import argparse

from pipelines.cli.base import Verbs


def add(verbs: Verbs) -> None:
    parser = verbs.add_for_recipe("tune", "search the recipe's space by the quality of the representation", _tune)
    resume = "go on with an interrupted campaign; an error if none is there"
    parser.add_argument("--resume", action="store_true", help=resume)


def _tune(options: argparse.Namespace) -> int:
    from pipelines.config.parse import load

    config = load(options.recipe, options.set)
    from pipelines.cli import summary
    from pipelines.runtime import session
    from pipelines.storage.root import storage_root
    from pipelines.tuning import tune

    root = storage_root(config)
    try:
        if config.ray.address != "local":
            session.connect(config)  # what the nodes of a cluster do not see is said before anything begins
        _, made = tune.tune(config, root, resume=options.resume)
    finally:
        session.close()
    summary.show(config, made, root)
    return 0
