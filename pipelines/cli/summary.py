"""What the command line prints beside progress: the outcome of a run and the catalog."""

import shlex
import sys
from pathlib import Path

from pipelines.config.run import SetupConfig
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.sources._layout import first
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.report import text
from pipelines.registry.artifact import ModelVersion
from pipelines.stage import Artifact
from pipelines.tracking import server, ui
from pipelines.tracking.display import console, say
from pipelines.train.artifact import Checkpoint


def show(config: SetupConfig, made: Artifact, root: Path) -> None:
    """Say what came out of the last stage and where to look."""
    match made:
        case ShardSet():
            classes = manifest.load(made.folder).classes or ()
            kinds = f"{len(classes)} classes ({first(classes)})" if classes else "no labels"
            say(
                f"shards: {made.num_train} train and {made.num_test} test samples, {kinds}, "
                f"{made.num_quarantined} quarantined, {made.num_duplicates} exact copies of others (kept): "
                f"{made.folder}"
            )
        case Checkpoint():
            say(f"checkpoint: step {made.step}: {made.folder}")
        case ProbeReport():
            _scores(made)
        case ModelVersion():
            _scores(made.report)
            say(f"candidate: {made.uri} (version {made.version}, alias {made.alias})")
            where = server.address(config, root) or server.shown(server.storage(config, root))
            say(f"load it:   {load_command(where, made.uri)}")
    say(f"look:      {ui.how_to_open(config, root)}")


def load_command(tracking_uri: str, model_uri: str) -> str:
    """One line for a shell, with the Python that has what the model needs."""
    code = f'import mlflow; model = mlflow.pyfunc.load_model("{model_uri}")'
    return f"MLFLOW_TRACKING_URI={shlex.quote(tracking_uri)} {shlex.join([sys.executable, '-c', code])}"


def _scores(made: ProbeReport) -> None:
    if made.scores.encoder:
        console.print(text.rich_table(made.scores))
    else:
        say(made.verdict)
    say(f"report:    {made.folder / 'report' / 'report.md'}")
