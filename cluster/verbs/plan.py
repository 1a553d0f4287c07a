"""plan: what a run will need and take, before it starts."""

import argparse
from typing import TYPE_CHECKING

from pipelines.cli.base import Verbs

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.config.run import RunConfig
    from pipelines.data.shards.shard_set import ShardSet


def add(verbs: Verbs) -> None:
    text = "what pre-training will need and take (nodes, memory, disk, time), from a rehearsal of some seconds"
    parser = verbs.add_for_recipe("plan", text, _plan)
    parser.add_argument("--address", metavar="URL", help="on the cluster with this dashboard, by a job on it")


def _plan(options: argparse.Namespace) -> int:
    from pipelines.config.parse import load

    config = load(options.recipe, options.set)
    if options.address is None:
        return _here(config)
    from cluster.entrypoint import of_recipe
    from cluster.jobs import Jobs
    from cluster.submit import submit
    from cluster.verbs.jobs import follow

    jobs = Jobs(options.address)
    return follow(jobs, submit(jobs, of_recipe("plan", config), again=True).submission_id)


def _here(config: "RunConfig") -> int:
    from pipelines.data.shards import manifest
    from pipelines.runtime import capacity, session
    from pipelines.storage.root import storage_root
    from pipelines.tracking.display import say
    from pipelines.train.plan import forecast

    root = storage_root(config)
    try:
        session.connect(config)
        from pipelines.data.batches.stream import training_order
        from pipelines.train.plan.rehearsal import SECONDS, rehearse
        from pipelines.train.pretrain import on_gpus

        shards = _shards(config, root)
        listing = manifest.load(shards.folder)
        order = training_order(config, listing)
        use_gpu = on_gpus(config, capacity.num_gpus())
        say(f"plan: rehearsing with all workers and readers, {SECONDS:g} s once they are warm")
        rehearsed = rehearse(config, shards, use_gpu)
        rows = forecast.rows(config, listing, order, rehearsed, capacity.members(), use_gpu)
    finally:
        session.close()
    for row in rows:
        say(f"{row.what:14}{row.value}")
    return 0


def _shards(config: "RunConfig", root: "Path") -> "ShardSet":
    """Those that the run will read; made where they are missing, as `selfray ingest` does."""
    from pipelines import flow
    from pipelines.data.ingest import INGEST
    from pipelines.data.shards.shard_set import ShardSet
    from pipelines.stage import Nothing
    from pipelines.storage.inputs import RECORD
    from pipelines.tracking.display import say

    folder = INGEST.folder(config, Nothing(), root)
    if (folder / RECORD).exists():
        say(f"plan: the shards are there: {folder}")
        return ShardSet.model_validate_json((folder / RECORD).read_text())
    say("plan: no shards yet; ingesting first (the run reuses them)")
    made = flow.up_to("ingest", config, root)
    assert isinstance(made, ShardSet)
    return made
