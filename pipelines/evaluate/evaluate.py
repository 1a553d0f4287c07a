"""Score the frozen encoder with every probe, beside its two floors, and draw the report."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.config.flat import fingerprint
from pipelines.config.run import RunConfig, SetupConfig
from pipelines.data.shards import manifest
from pipelines.data.shards.labels import Labels
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.evaluate import run_tasks
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.features import encode, training_views
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.leaks import check as leak_check
from pipelines.evaluate.report import text
from pipelines.evaluate.scoring import label_free, outcomes, scoring
from pipelines.evaluate.scoring.probing import ProbeResult
from pipelines.evaluate.tasks.base import Evaluated
from pipelines.model import loader
from pipelines.stage import Stage
from pipelines.storage import outbox
from pipelines.storage.printable import printable
from pipelines.train.artifact import Checkpoint
from ssl_core.catalog import find


def run(config: SetupConfig, given: Checkpoint, folder: Path) -> ProbeReport:
    """Features of encoder, random-init encoder and raw input; all probes on each; report in `folder/report`.

    Raises:
        UserError: the weights are damaged; as `check`; or `evaluate.headline` names no score.
    """
    loader.check_weights(given.folder)  # before Ray starts: from its actors the same error comes as a long traceback
    shards, root = given.shards, folder.parent.parent / "features"
    listing = manifest.load(shards.folder)
    _needs_test(listing)
    labels = _labels(shards.folder, listing)
    looked = _Progress(folder, (3 * len(config.evaluate.probes) if labels else 0) + 4)
    subjects = encode.subjects_of(config, given)
    features = encode.features(config, shards, listing, root, subjects)
    looked.step({})
    measured = scoring.measure(config.evaluate, config.seed, features, labels, looked.step) if labels else {}
    extra = run_tasks.run(Evaluated(config, shards, listing, labels, features, subjects, folder))
    looked.step(extra.metrics)
    for name, found in extra.scores.items():
        if found:  # some tasks need no labels
            measured.setdefault(name, ProbeResult()).add(found, config.seed, config.evaluate.resamples)
    z, sample_id = features["encoder"].load("test")
    headline, scored = "", dict[str, Any]()
    if measured:
        headline = _headline(config, measured["encoder"].scores)
        classes, resamples = listing.classes or (), config.evaluate.resamples
        scored = scoring.fields(measured, headline, sample_id, labels.get("test"), classes, config.seed, resamples)
        (folder / "report").mkdir(exist_ok=True)
        outcomes.save(folder / "report", sample_id, measured["encoder"].values, extra.sample_id)
    views = training_views.features(config, given, listing, root, subjects[0])
    wellness = label_free.of_features(z, views)
    leaks = leak_check.find(config, shards, listing, root, features["encoder"]) if config.evaluate.leaks else None
    other = None if isinstance(config, RunConfig) else leak_check.of_pretraining(config, given, listing, root)
    looked.step({**wellness, **({"leak_rate": leaks.rate} if leaks else {})})
    result = text.Scores(
        **scored,
        protocols=_protocols(config) | extra.protocols,
        robustness=extra.robustness,
        headline=headline,
        health=wellness,
        outliers=label_free.outliers(z, sample_id),
        leaks=leaks,
        pretraining=other,
        seed=config.seed,
        num_train=len(features["encoder"].load("train")[1]),
        num_test=len(z),
    )
    _write_report(config, given, listing, features, labels.get("test"), result, folder / "report")
    looked.step({})
    verdict = text.verdict(result)
    digest = fingerprint([given.digest, result.model_dump(mode="json")])
    return ProbeReport(digest=digest, checkpoint=given, folder=folder, scores=result, verdict=verdict)


def check(shards: ShardSet) -> None:
    """Whether these data can be scored: known before anything is trained on them.

    Raises:
        UserError: the test split is empty, or the labels of train and test do not fit.
    """
    listing = manifest.load(shards.folder)
    _needs_test(listing)
    _labels(shards.folder, listing)


EVALUATE = Stage("evaluate", 3, reads=("seed", "views", "encoder", "method", "evaluate"), makes=ProbeReport, run=run)
EVALUATE_MODEL = replace(EVALUATE, name="evaluations")
"""Of `selfray evaluate MODEL --on DATA`: kept apart from the evaluations of runs."""


def _write_report(
    config: SetupConfig,
    given: Checkpoint,
    listing: Manifest,
    features: Mapping[str, FeatureSet],
    labels: Mapping[int, int] | None,
    scores: text.Scores,
    folder: Path,
) -> None:
    """Curves, embedding map, neighbor gallery, reconstructions, health, confusions; report.md and scores.json."""
    from pipelines.data.batches.stream import some_rows
    from pipelines.evaluate.report import diagnostics, gallery

    folder.mkdir(parents=True, exist_ok=True)
    arrays = some_rows(config, given.shards.folder, listing, "test", config.evaluate.map_samples, ("eval",))
    figures = gallery.draw(config, given, arrays, features["encoder"].load("test"), labels, listing.classes, folder)
    figures |= diagnostics.draw(scores, features, folder)
    (folder / "report.md").write_text(text.markdown(scores, config.name, figures))
    (folder / "scores.json").write_text(text.json_text(scores))


def _protocols(config: SetupConfig) -> dict[str, str]:
    return {c.name: find("ssl_core.evaluate", c.name)(c).protocol for c in config.evaluate.probes}


def _headline(config: SetupConfig, scores: Mapping[str, float]) -> str:
    wanted = config.evaluate.headline
    if wanted and wanted not in scores:
        raise UserError(f"evaluate.headline: no probe gave '{wanted}'; it can be one of {', '.join(scores)}")
    return wanted


def _needs_test(listing: Manifest) -> None:
    if not listing.num_rows("test"):
        raise UserError(
            f"ingest.test_fraction: the test split is empty (all {listing.num_rows('train')} samples are in train), "
            "so there is nothing to score; raise it, or bring more data"
        )


def _labels(shards: Path, listing: Manifest) -> dict[str, Mapping[int, int]]:
    """Sample id -> class number of both splits; empty: no labels.

    Raises:
        UserError: some samples have a label and others none, or the splits have no class in common.
    """
    train, test = manifest.labels(shards, listing, "train"), manifest.labels(shards, listing, "test")
    if not train or not test:
        return {}
    total, labelled = listing.num_rows("train") + listing.num_rows("test"), len(train) + len(test)
    if labelled < total:
        raise UserError(
            f"{total - labelled} of {total} samples have no label, so accuracies would be those of some samples only; "
            "label them, leave them out, or ingest without labels (source.labels=none, source.label=null)"
        )
    if not train.numbers() & test.numbers():
        raise UserError(
            f"no label of test occurs in train: test has {_named(test, listing)}, train has {_named(train, listing)}; "
            "use the same names in both splits, or ingest without labels (source.labels=none, source.label=null)"
        )
    return {"train": train, "test": test}


def _named(labels: Labels, listing: Manifest) -> str:
    """The first classes of a split."""
    names = [printable((listing.classes or ())[number]) for number in sorted(labels.numbers())]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class _Progress:
    """One outbox line per finished piece of the evaluation."""

    def __init__(self, folder: Path, total: int):
        self._folder, self._total, self._done = folder, total, 0

    def step(self, metrics: Mapping[str, float]) -> None:
        self._done += 1
        outbox.append(self._folder, step=self._done, total=self._total, metrics=metrics, final=True)
