"""The confirmation of a campaign: its best configs and the recipe's own, all on the same fresh seeds."""

from pipelines.config.tune import ConfirmConfig, TuneConfig
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


def num_trainings(wanted: ConfirmConfig, num_searched: int) -> int:
    """That the confirmation of so many search trials takes, at most: the best and the recipe's own, on each seed."""
    return (min(wanted.top_k, num_searched) + 1) * wanted.seeds


def cost_before(settings: TuneConfig, num_searched: int, steps: int) -> str:
    """How many trainings a campaign takes, for whoever is about to pay for them.

    Args:
        num_searched: search trials that there will be.
        steps: of a whole training of the recipe's own config.
    """
    more, wanted = num_trainings(settings.confirm, num_searched), settings.confirm
    early = " (most stopped early)" if settings.scheduler == "asha" else ""
    said = f"up to {num_searched + more} trainings of about {steps:,} steps: {num_searched} to search{early}"
    if not more:
        return f"{said}, none to confirm (tune.confirm.seeds 0)"
    best = min(wanted.top_k, num_searched)
    return (
        f"{said}, {more} in full to confirm (the best {best} and the recipe's own, tune.confirm.seeds {wanted.seeds})"
    )


def _why_not(campaign: Campaign) -> str:
    ended = campaign.of("search")
    first = next((trial for trial in ended if trial.reason), None)
    counts = {state: sum(t.state == state for t in ended) for state in ("failed", "collapsed", "stopped")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{said}; trial {first.number} {first.state}: {first.reason}" if first else said
