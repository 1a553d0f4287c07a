"""What a registered version says of the campaign that it won: on its tags and description, and on its run."""

import logging
import re
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.registry.artifact import ModelVersion
from pipelines.registry.review.campaigns import RUN, TRIAL, TRIALS, VERDICT, campaign_line
from pipelines.tracking import runs
from pipelines.tracking.runs import Tracked
from pipelines.tracking.server import reached
from pipelines.tracking.shipping import Unreachable
from pipelines.tracking.ui import run_link
from pipelines.tracking.view import CONFIRMED, RECIPE
from pipelines.tuning.outcome.findings import Findings

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"
MAX_TAG, MAX_DESCRIPTION = 5000, 5000  # MLflow's columns
_OURS = re.compile(r"^Campaign: .*$\n*", re.MULTILINE)

logger = logging.getLogger("selfray.tracking")


def tell(made: ModelVersion, found: Findings) -> None:
    """Put the campaign's outcome on the version that it registered, for whoever reviews that version alone."""
    try:
        tracked = runs.current()
        with reached():
            _tell(tracked.client, tracked.experiment_id, tracked.run_id, made, found)
    except (Unreachable, UserError) as error:
        logger.warning("tracking: %s; %s does not name its campaign, the same command again puts it there",
                       error, made.uri)  # fmt: skip


def _tell(client: "MlflowClient", experiment_id: str, run_id: str, made: ModelVersion, found: Findings) -> None:
    searched = sum(trial.kind == "search" for trial in found.trials)
    tags = {VERDICT: found.verdict[:MAX_TAG], RUN: run_id, TRIAL: str(found.winner), TRIALS: str(searched)}
    line = campaign_line(found.verdict, found.winner, searched)
    line += f" {run_link('The campaign', experiment_id, run_id)}"
    version = client.get_model_version(made.name, str(made.version))
    for key, value in tags.items():
        client.set_model_version_tag(made.name, str(made.version), key, value)
    client.update_model_version(made.name, str(made.version), with_line(version.description or "", line))
    if not version.run_id:
        return
    for key, value in tags.items():
        client.set_tag(version.run_id, key, value)
    note = client.get_run(version.run_id).data.tags.get(NOTE, "")
    client.set_tag(version.run_id, NOTE, with_line(note, line))


def confirmed(found: Findings) -> dict[str, float]:
    """Metrics of the campaign's run: mean and spread over fresh seeds of the winner and of the recipe's own config."""
    own = next((each for each in found.confirmed if each.trial is None), None)
    values = dict[str, float | None]()
    for names, each in ((CONFIRMED, found.confirmation), (RECIPE, own)):
        values |= dict(zip(names, (each.mean, each.std), strict=True)) if each else {}
    return {name: value for name, value in values.items() if value is not None}


def about(found: Findings, tracked: Tracked) -> str:
    """The description of the campaign's run, as Markdown."""
    searched = sum(trial.kind == "search" for trial in found.trials)
    page = run_link("report.html", tracked.experiment_id, tracked.run_id, "artifacts/report/report.html")
    rows = [f"| `{key}` | {value} |" for key, value in found.best.changes.items()]
    parts = [
        f"**{found.verdict}**",
        *(f"- {line}" for line in found.advice),
        f"Trial {found.winner} of {searched} won, ranked by `{found.metric}` ({found.meaning}); `{CONFIRMED[0]}` and "
        f"`{CONFIRMED[1]}` are its {found.metric} over fresh seeds, `{RECIPE[0]}` and `{RECIPE[1]}` the recipe's own.",
        "\n".join(["| searched key | the winner's value |", "|---|---|", *rows]),
        f"Every trial, its curves and what they say: {page}. Each trial is a run below this one, with its values as "
        "params and its looks as metrics; the loss of the winner's training is in the run `pretrain` below the "
        "winner's own run, or in that run's report.",
    ]
    return "\n\n".join(parts)[:MAX_DESCRIPTION]


def with_line(text: str, line: str) -> str:
    """A description with the campaign's line after its first paragraph, in place of one that is there already."""
    first, _, rest = _OURS.sub("", text).strip().partition("\n\n")
    made = "\n\n".join(part for part in (first, line, rest.strip()) if part) + "\n"
    return made if len(made) <= MAX_DESCRIPTION else made[:MAX_DESCRIPTION].rpartition("\n")[0] + "\n"
