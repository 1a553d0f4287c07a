"""A campaign on one screen: search, confirm, report, register the winner."""

import json
from pathlib import Path

from pipelines import flow
from pipelines.config.parse import parse, with_changes
from pipelines.config.run import RunConfig
from pipelines.config.tune import TuneConfig
from pipelines.data.ingest import INGEST
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.tokenizer_stage import with_tokenizers
from pipelines.errors import UserError
from pipelines.evaluate.evaluate import check
from pipelines.registry.artifact import ModelVersion
from pipelines.runtime import session
from pipelines.stage import Nothing
from pipelines.storage import lock
from pipelines.tracking import runs as tracking
from pipelines.tracking.display import clock, say
from pipelines.train.pretrain import PRETRAIN
from pipelines.tuning import candidate, plan, records, space, table
from pipelines.tuning.campaign import Campaign, Work
from pipelines.tuning.cautions import can_be_ranked, cautions
from pipelines.tuning.confirm import cost_before, plan_confirmation
from pipelines.tuning.outcome import findings, report
from pipelines.tuning.outcome.findings import Findings
from pipelines.tuning.plan import Plan
from pipelines.tuning.table import Troubles
from pipelines.tuning.trials.runs import TrialRuns, finish, link


def tune(config: RunConfig, root: Path, *, resume: bool = False) -> tuple[Findings, ModelVersion]:
    """Everything is recorded under `root/tune/<hash>`; what is there is gone on with.

    Args:
        resume: insist that there is something to go on with.

    Raises:
        UserError: the space does not fit, nothing can rank the trials, or none came to its end.
        Interrupted: Ctrl-C; every running trial has saved a checkpoint.
    """
    settings = space.section(config)
    space.check(config, PRETRAIN.decides)
    folder = plan.folder(config, INGEST.folder(config, Nothing(), root).name, root)
    if resume and not (folder / plan.NAME).exists():
        raise UserError(
            f"--resume: no stopped campaign of this recipe and space on these data, as they are now, under {root}"
            f"{plan.differs(config, root)}; run without --resume"
        )
    folder.mkdir(parents=True, exist_ok=True)
    mine = lock.alone(folder / ".lock", lock.STAGE_WAIT_S, lambda text: say(f"tune: {text}"))
    with mine, tracking.run(config, root, campaign=folder.name):
        shards = INGEST(config, Nothing(), root)
        can_be_ranked(config, settings, shards)
        check(shards)
        config = with_tokenizers(config, shards, root)
        troubles = Troubles()
        found, shared = _search_and_confirm(config, settings, shards, root, folder, troubles)
        page = report.write(found, shared, folder / "report")
        finish(found, page.parent)
        for line in (found.verdict, *found.advice):
            say(f"tune: {line}")
        say(f"report: {page}")
        made = flow.train_and_register(winner_of(config, found, shared), root)
        link(made)
        candidate.tell(made, found)
        troubles.say(found.trials)
        return found, made


def _search_and_confirm(
    config: RunConfig, settings: TuneConfig, shards: ShardSet, root: Path, folder: Path, troubles: Troubles
) -> tuple[Findings, Plan]:
    from pipelines.tuning.trials import trial
    from pipelines.tuning.trials.ray_tune import max_concurrent, run_trials

    session.connect(config)
    at_a_time, why = max_concurrent(config, settings.max_concurrent)
    shared = Plan(recipe=space.tree(config), tune=settings, shards=shards, at_a_time=at_a_time)
    shared.keep(folder)
    runs = TrialRuns(folder)
    campaign = Campaign(shared, folder, config.seed, work_of(shards, root), [runs])
    said = f"tune: campaign {folder}, {campaign.num_planned} search trials, {at_a_time} at a time ({why})"
    say(f"{said}; {len(campaign.trials)} recorded before" if campaign.trials else said)
    steps = work_of(shards, root)(config)[1]
    for line in (cost_before(settings, campaign.num_searched, steps), *cautions(settings, shards)):
        say(f"tune: {line}")
    try:
        with table.watch(campaign, at_a_time):
            run_trials(campaign, campaign.next_search, config, at_a_time)
            troubles.say(campaign.trials)
            plan_confirmation(campaign)
            run_trials(campaign, campaign.next_confirmation, config, at_a_time)
    finally:
        runs.close(campaign.trials)
    kept = folder / "floors.json"
    if not kept.exists():
        records.write(kept, json.dumps(trial.floors(config, shared)))
    found = findings.find(campaign, config.name, json.loads(kept.read_text()))
    say(f"tune: {report.cost_line(found)} ({clock(found.cost.spent)} of search)")
    return found, shared


def winner_of(config: RunConfig, found: Findings, shared: Plan) -> RunConfig:
    """The recipe with the winner's values; what is on disk holds no login, so where to track comes from `config`."""
    return parse(with_changes(shared.recipe, found.best.changes)).model_copy(update={"tracking": config.tracking})


def work_of(shards: ShardSet, root: Path) -> Work:
    listing = manifest.load(shards.folder)

    def of(config: RunConfig) -> tuple[Path, int]:
        from pipelines.data.batches.stream import training_order

        steps = config.train.num_steps(training_order(config, listing).batches_per_epoch)
        return PRETRAIN.folder(config, shards, root), steps

    return of
