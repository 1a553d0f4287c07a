"""Gathers the facts about an encoder from the registry, its run, and the artifacts of both."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from pipelines.config import plain_yaml
from pipelines.config.flat import flat_tree
from pipelines.config.parse import with_changes
from pipelines.config.review import ReviewConfig
from pipelines.errors import UserError
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.report import samples
from pipelines.evaluate.scoring.outcomes import NAME as OUTCOMES
from pipelines.evaluate.scoring.outcomes import load as load_outcomes
from pipelines.evaluate.scoring.scores import Scores
from pipelines.model.card_file import CARD, read_card
from pipelines.registry.registry import ModelVersion, Registry, Run
from pipelines.registry.review import campaigns, lineage
from pipelines.registry.review.facts import Data, Facts, Lineage, Subject
from pipelines.storage import checkpoint, inputs
from pipelines.storage.inputs import RECORD
from pipelines.train.audit import Audit

_UNCHANGED = ("storage", "tracking", "ray", "tune", "review")  # where and how, not what was computed


def of_version(registry: Registry, version: ModelVersion) -> Subject:
    """Gather the facts about a registered version.

    Raises:
        UserError: it was not registered by Selfray, or its run is gone.
    """
    name, tags = str(version.name), dict(version.tags)
    if not version.run_id or "selfray.sha256" not in tags:
        raise UserError(
            f"{name}/{version.version}: not registered by Selfray; `selfray run` registers what it can review"
        )
    found = of_run(registry, str(version.run_id))
    traced = found.facts.lineage.model_copy(
        update={
            "sha256": tags["selfray.sha256"],
            "checkpoint": tags.get("selfray.digest", ""),
            "shards": tags.get("selfray.shards", found.facts.lineage.shards),
        }
    )
    here = {
        "title": f"{name} version {version.version}",
        "name": name,
        "version": int(version.version),
        "aliases": tuple(
            sorted(alias for alias, v in registry.model(name).aliases.items() if int(v) == int(version.version))
        ),
        "created": int(version.creation_timestamp),
        "lineage": traced,
    }
    return replace(found, facts=found.facts.model_copy(update=here))


def of_run(registry: Registry, run_id: str) -> Subject:
    """Gather the facts about a run that evaluated an encoder."""
    run = registry.run(run_id)
    folder = registry.artifacts(run_id, "report", "config.yaml")
    stage = lineage.stage(registry, run)
    trainer = lineage.trainer(registry, run, stage)
    audit_folder = registry.artifacts(str(stage.info.run_id), "report") if stage is not None else folder
    read = _Reader(folder)
    audit = _audit(audit_folder / "report" / "audit.json", read)
    tree, title = read.config(), run.info.run_name or run_id
    made = _lineage(registry, run, trainer, read, audit)
    found = _subject(read, folder / "report", title, tree, made, _data(run, tree))
    won = found.facts.campaign or campaigns.place(registry, run)
    more = {"campaign": won, "experiment_id": str(run.info.experiment_id)}
    return replace(found, facts=found.facts.model_copy(update=more))


def of_folder(folder: Path) -> Subject:
    """Gather the facts about an evaluation on this machine: its report folder, its stage folder, or its checkpoint.

    Raises:
        UserError: it holds no report, or the checkpoint has not been evaluated.
    """
    given = folder.absolute()
    if (given / checkpoint.STATE).exists():
        given = _evaluation_of(given)
    inner = given if (given / "scores.json").exists() else given / "report"
    if not (inner / "scores.json").exists():
        raise UserError(f"{folder}: holds no scores.json; give a checkpoint, or the folder of an evaluation")
    shards, keys = _recorded(inner.parent)
    return _subject(_Reader(inner.parent), inner, str(folder), keys, Lineage(run_id="", shards=shards), Data())


def scored_on(run: Run) -> str:
    """Digest of the one data set of a run, as MLflow keeps it; empty: none was logged, or several."""
    found = {each.dataset.digest for each in run.inputs.dataset_inputs}
    return str(found.pop()) if len(found) == 1 else ""


def _recorded(evaluation: Path) -> tuple[str, dict[str, Any]]:
    """What the record of a stage says: digest of the data, and the dotted config keys that made it all."""
    if not (evaluation / RECORD).exists():
        return "", {}
    scored = ProbeReport.model_validate_json((evaluation / RECORD).read_text()).checkpoint
    stages = (scored.shards.folder, scored.folder.parent.parent, evaluation)
    made_from = [inputs.load(stage).keys for stage in stages if (stage / inputs.NAME).exists()]
    return scored.shards.digest, {key: value for keys in made_from for key, value in keys.items()}


def _evaluation_of(given: Path) -> Path:
    """The newest evaluation of a checkpoint in the same storage: STORAGE/pretrain/HASH/checkpoints/STEP."""
    stages = ("evaluate", "evaluations")
    found = [path for stage in stages for path in given.parents[3].glob(f"{stage}/*/{RECORD}")]
    for record in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        scored = ProbeReport.model_validate_json(record.read_text()).checkpoint.folder
        if scored == given:
            return record.parent
        if (scored / CARD).exists() and read_card(scored).checkpoint == checkpoint.digest(given):  # scored with --on
            return record.parent
    raise UserError(f"{given}: not evaluated yet; `selfray evaluate` does it")


class _Reader:
    """Reads a run's files; notes what is not there."""

    def __init__(self, folder: Path):
        self._folder, self.missing = folder, list[str]()

    def text(self, name: str, sentence: str) -> str:
        path = self._folder / name
        if path.exists():
            return path.read_text()
        if sentence:
            self.missing.append(sentence)
        return ""

    def config(self) -> dict[str, Any]:
        """As the encoder was trained: a campaign's run logs its recipe's, from which the winner differs."""
        try:
            tree = plain_yaml.load(self.text("config.yaml", "The run logged no config."))
        except plain_yaml.NotPlain as error:
            raise UserError(f"the run's config.yaml: {error}; was it changed? review another version") from None
        if not isinstance(tree, dict):
            return {}
        path = self._folder / "report" / campaigns.CAMPAIGN
        return with_changes(tree, campaigns.winner(json.loads(path.read_text()))["changes"]) if path.exists() else tree


def _subject(read: _Reader, report: Path, title: str, tree: dict[str, Any], traced: Lineage, data: Data) -> Subject:
    scores = _scores(report / "scores.json", read)
    outcomes = load_outcomes(report) if (report / OUTCOMES).exists() else None
    shown = samples.load(report)
    if scores is not None and not scores.encoder:
        read.missing.append("The data have no labels: there are no scores, only label-free measures.")
    elif outcomes is None:
        read.missing.append("No outcomes per test sample (an older evaluation): no paired comparison is possible.")
    if shown is None:
        read.missing.append("No stored samples (an older evaluation): no map of both encoders and no gallery.")
    facts = Facts(
        title=title,
        scores=scores,
        config=flat_tree({key: value for key, value in tree.items() if key not in _UNCHANGED}),
        lineage=traced,
        data=data,
        campaign=campaigns.of_report(report / campaigns.CAMPAIGN),
        missing=tuple(read.missing),
    )
    return Subject(facts, report, outcomes, shown, _rules(tree))


def _rules(tree: dict[str, Any]) -> ReviewConfig:
    try:
        return ReviewConfig.model_validate(tree.get("review") or {})
    except ValidationError as error:
        raise UserError(f"review of the run's config.yaml: {error.errors()[0]['msg']}; give --gates FILE") from None


def _scores(path: Path, read: _Reader) -> Scores | None:
    if not path.exists():
        read.missing.append("The run holds no evaluation report: run `selfray evaluate`.")
        return None
    try:
        tree = json.loads(path.read_text())["scores"]
        if "gauges" in tree:  # as reports before version 2 called it
            tree["health"] = tree.pop("gauges")
        return Scores.model_validate(tree)
    except (ValidationError, ValueError, KeyError) as error:
        raise UserError(
            f"{path.name} of the run cannot be read: {str(error).splitlines()[0]}; evaluate again"
        ) from None


def _audit(path: Path, read: _Reader) -> Audit | None:
    if not path.exists():
        read.missing.append("No audit of what training consumed is on this server.")
        return None
    return Audit.model_validate_json(path.read_text())


def _lineage(registry: Registry, run: Run, trainer: Run | None, read: _Reader, audit: Audit | None) -> Lineage:
    trained = lineage.codes(registry, trainer) if trainer is not None else ()
    if trainer is None:
        read.missing.append("The run that trained it is not on this server: its code and machine are unknown.")
    elif not trained[0].environment:
        read.missing.append("The run logged no environment.")
    if trainer is not None and not trained[0].commit:
        read.missing.append("The code was no git checkout: there is no commit.")
    other = trainer is None or trainer.info.run_id != run.info.run_id
    counted = int((run if trainer is None else trainer).data.tags.get("selfray.restarts", 0))
    return Lineage(
        run_id=run.info.run_id,
        run_name=run.info.run_name or "",
        user=run.data.tags.get("mlflow.user", ""),
        trained=trained,
        evaluated=lineage.codes(registry, run) if other else (),
        restarts=max(counted, len(audit.restarts) if audit else 0),
        audit=audit.verdict() if audit else "",
        audit_exact=audit.is_exact if audit else None,
        shards=scored_on(run),
    )


def _data(run: Run, tree: dict[str, Any]) -> Data:
    said = tree.get("review") or {}
    about = {"license": said.get("license", ""), "provenance": said.get("provenance", "")}
    if not run.inputs.dataset_inputs:
        return Data(**about)
    data = run.inputs.dataset_inputs[0].dataset
    place = unquote(urlsplit(json.loads(data.source).get("uri", "")).path)
    return Data(name=data.name, folder=place, **json.loads(data.profile or "{}"), **about)
