"""What a registered version says of the campaign that it won: on its tags and description, and on its run."""

import logging
import re
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.registry.artifact import ModelVersion
from pipelines.tracking import runs
from pipelines.tracking.server import reached
from pipelines.tracking.shipping import Unreachable
from pipelines.tracking.ui import run_link
from pipelines.tuning.outcome.findings import Findings

if TYPE_CHECKING:
    from mlflow import MlflowClient

VERDICT, RUN, TRIAL, TRIALS = (f"selfray.campaign.{what}" for what in ("verdict", "run", "trial", "trials"))
"""Tags of the version and of its run: the campaign's verdict, id of its run, the trial that won, of how many."""
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


def campaign_line(verdict: str, trial: int | None, num_trials: int) -> str:
    """The outcome as one sentence, e.g. `Campaign: not better than ...; won by trial 1 of 4.`"""
    won = "" if trial is None else f"; won by trial {trial} of {num_trials}"
    return f"Campaign: {' '.join(verdict.split())}{won}."


def with_line(text: str, line: str) -> str:
    """A description with the campaign's line after its first paragraph, in place of one that is there already."""
    first, _, rest = _OURS.sub("", text).strip().partition("\n\n")
    made = "\n\n".join(part for part in (first, line, rest.strip()) if part) + "\n"
    return made if len(made) <= MAX_DESCRIPTION else made[:MAX_DESCRIPTION].rpartition("\n")[0] + "\n"
