"""The confirmation of a campaign: its best configs and the recipe's own, all on the same fresh seeds."""

from pipelines.errors import UserError
from pipelines.tuning.campaign import Campaign


def plan_confirmation(campaign: Campaign) -> None:
    """Add the trials that are to be run; those added before are found again.

    Raises:
        UserError: no search trial has come to its end; names the first reason.
    """
    best = campaign.ranked()
    if not best:
        raise UserError(f"tune: no trial came to its end; {_why_not(campaign)}")
    wanted = campaign.plan.tune.confirm
    seeds = [campaign.seed + 1 + i for i in range(wanted.seeds)]
    for seed in seeds:  # seed by seed, so that an interrupted confirmation has compared something
        campaign.want("default", {"seed": seed}, None)
        for trial in best[: wanted.top_k]:
            campaign.want("confirm", {**trial.changes, "seed": seed}, trial.number)


def _why_not(campaign: Campaign) -> str:
    ended = campaign.of("search")
    first = next((trial for trial in ended if trial.reason), None)
    counts = {state: sum(t.state == state for t in ended) for state in ("failed", "collapsed", "stopped")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{said}; trial {first.number} {first.state}: {first.reason}" if first else said
