"""MLflow's list of runs with verdict and scores in view: a shared view of MLflow's own, which a link opens.

MLflow's page keeps what 'Share view' shares as JSON in a tag of the experiment, `mlflow.sharedViewState.KEY`, and reads
it for `?viewStateShareKey=KEY`; see useSharedExperimentViewState in its sources. Without the link the list is as usual.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.tracking import server as store
from pipelines.tracking.server import Value, reached

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "selfray"
TAG = f"mlflow.sharedViewState.{KEY}"
VERDICT = "selfray.verdict"
HEADLINE, FLOORS = "headline", ("floor/random_init", "floor/raw_input")
CONFIRMED, RECIPE = ("confirmed/mean", "confirmed/std"), ("recipe/mean", "recipe/std")
"""Metrics of a campaign's run: its winner and the recipe's own config over fresh seeds."""
_COLUMNS = {  # in this order; name -> width in pixels
    f"tags.`{VERDICT}`": 340,
    f"metrics.`{HEADLINE}`": 90,
    **{f"metrics.`{name}`": 110 for name in FLOORS},
    **{f"params.`method.{key}`": 110 for key in ("name", "temperature", "mask_ratio")},
    **{f"metrics.`{name}`": 110 for name in (*CONFIRMED, *RECIPE)},
}
STATE = json.dumps(
    {
        "searchFilter": "tags.`selfray.decisions` IS NULL",  # the log of decisions is kept as a run, and is none
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
    }
)


def scored(client: "MlflowClient", run_id: str, report_folder: Path, values: list[Value]) -> None:
    """Put what the list shows of an evaluation on its run: verdict, headline score and the floors of that.

    Args:
        report_folder: with scores.json; without it, or without labels, only what there is.
        values: as the evaluation logged them; they give the time, so that a second call doubles no point.
    """
    path = report_folder / "scores.json"
    if not path.exists():
        return
    found = json.loads(path.read_text())  # plain: the evaluation that wrote it stands above this package
    client.set_tag(run_id, VERDICT, found["verdict"][:5000])
    scores = found["scores"]
    if not (name := scores["headline"] or next(iter(scores["encoder"]), "")):
        return
    sides = {HEADLINE: scores["encoder"], FLOORS[0]: scores["random_init"], FLOORS[1]: scores["raw_input"]}
    now = max((value.time for value in values), default=time.time_ns() // 1_000_000)
    store.log_values(client, run_id, [Value(key, now, 0, side[name]) for key, side in sides.items() if name in side])


def place(uri: str, experiment: str) -> str:
    """The part of a link after `#` that opens the runs of an experiment in this view, which is made if need be.

    Raises:
        Unreachable: the store does not answer; LookupError: it has no such experiment.
    """
    with reached():
        client = store.connect(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None or found.lifecycle_stage != "active":
            raise LookupError(experiment)
        if found.tags.get(TAG) != STATE:
            client.set_experiment_tag(found.experiment_id, TAG, STATE)
    return f"/experiments/{found.experiment_id}/runs?viewStateShareKey={KEY}"
