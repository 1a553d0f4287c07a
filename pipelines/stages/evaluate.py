"""Score the frozen encoder with every probe, beside its two floors, and draw the report."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

from torch import Tensor

from pipelines import manifest, outbox, report
from pipelines.artifacts import Checkpoint, ProbeReport
from pipelines.config import RunConfig, fingerprint
from pipelines.errors import UserError
from pipelines.manifest import Manifest
from pipelines.stages import embedding
from pipelines.stages.base import Stage
from pipelines.stages.embedding import Subject
from ssl_core.catalog import find
from ssl_core.gauges import feature_std, rankme, uniformity


def run(config: RunConfig, given: Checkpoint, folder: Path) -> ProbeReport:
    """Features of encoder, random-init encoder and raw input; all probes on each; report in `folder/report`."""
    shards = given.shards
    listing = manifest.load(shards.folder)
    labels = _labels(shards.folder, listing)
    looked = _Progress(folder, (3 * len(config.evaluate.probes) if labels else 0) + 3)
    encoder = config.encoder.model_dump(mode="json")
    subjects = [
        Subject("encoder", fingerprint([encoder, given.digest]), str(given.folder)),
        Subject("random_init", fingerprint([encoder, config.seed])),  # drawn before the method's own weights
        Subject("raw_input", "pixels"),
    ]
    features = embedding.features(config, shards, listing, folder.parent.parent / "features", subjects)
    looked.step({})
    scores: dict[str, dict[str, float]] = {subject.name: {} for subject in subjects}
    for subject, probe_config in product(subjects, config.evaluate.probes if labels else ()):
        probe = find("ssl_core.evaluate", probe_config.name)(probe_config)
        scores[subject.name] |= features[subject.name].scores(probe, labels, config.seed)
        looked.step(scores["encoder"] if subject.name == "encoder" else {})
    num_train, test = len(features["encoder"].load("train")[1]), features["encoder"].load("test")
    test_features = test[0]
    gauges = {
        "feature_std": feature_std(test_features).item(),
        "rankme": rankme(test_features).item(),
        "uniformity": uniformity(test_features).item(),
    }
    result = report.Scores(
        encoder=scores["encoder"],
        random_init=scores["random_init"],
        raw_input=scores["raw_input"],
        health=gauges,
        protocols={c.name: find("ssl_core.evaluate", c.name)(c).protocol for c in config.evaluate.probes},
        headline=_headline(config, scores["encoder"]),
        seed=config.seed,
        num_train=num_train,
        num_test=len(test_features),
    )
    looked.step(gauges)
    _write_report(config, given, listing, test, labels.get("test"), result, folder / "report")
    looked.step({})
    verdict = report.verdict(result)
    digest = fingerprint([given.digest, result.model_dump(mode="json")])
    return ProbeReport(digest=digest, checkpoint=given, folder=folder, scores=result, verdict=verdict)


EVALUATE = Stage("evaluate", 1, reads=("seed", "views", "encoder", "method", "evaluate"), makes=ProbeReport, run=run)


def _write_report(
    config: RunConfig,
    given: Checkpoint,
    listing: Manifest,
    test: tuple[Tensor, Tensor],
    labels: Mapping[int, int] | None,
    scores: report.Scores,
    folder: Path,
) -> None:
    """Curves, embedding map, neighbor gallery, reconstructions; report.md and scores.json."""
    from pipelines import pictures
    from pipelines.stages.views import some_rows

    folder.mkdir(parents=True, exist_ok=True)
    arrays = some_rows(config, given.shards.folder, listing, "test", config.evaluate.map_samples, ("eval",))
    figures = pictures.draw(config, given, arrays, test, labels, listing.classes, folder)
    (folder / "report.md").write_text(report.markdown(scores, config.name, figures))
    (folder / "scores.json").write_text(report.json_text(scores))


def _headline(config: RunConfig, scores: Mapping[str, float]) -> str:
    wanted = config.evaluate.headline
    if scores and wanted and wanted not in scores:
        raise UserError(f"evaluate.headline: no probe gave '{wanted}'; it can be one of {', '.join(scores)}")
    return wanted if scores else ""


def _labels(shards: Path, listing: Manifest) -> dict[str, Mapping[int, int]]:
    """Sample id -> class number of both splits; empty: no labels."""
    train, test = manifest.labels(shards, listing, "train"), manifest.labels(shards, listing, "test")
    return {} if not train or not test else {"train": train, "test": test}


class _Progress:
    """One outbox line per finished piece of the evaluation."""

    def __init__(self, folder: Path, total: int):
        self._folder, self._total, self._done = folder, total, 0

    def step(self, metrics: Mapping[str, float]) -> None:
        self._done += 1
        outbox.append(self._folder, step=self._done, total=self._total, metrics=metrics, final=True)
