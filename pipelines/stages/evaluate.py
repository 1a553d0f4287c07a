"""Score the frozen encoder with every probe, beside its two floors, and draw the report."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines import checkpoint, manifest, outbox, report
from pipelines.artifacts import Checkpoint, ProbeReport, ShardSet
from pipelines.config import RunConfig, fingerprint, parse
from pipelines.errors import UserError
from pipelines.features import FeatureSet, raw_input
from pipelines.manifest import Manifest
from pipelines.stages import engine
from pipelines.stages.base import Stage
from ssl_core.build import build_chain, build_method
from ssl_core.catalog import find
from ssl_core.gauges import feature_std, rankme, uniformity

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """Something whose features the probes score: the encoder, or a floor."""

    name: Literal["encoder", "random_init", "raw_input"]
    identity: str
    """What tells its features from others on the same shards."""
    checkpoint: str | None = None
    """Folder of its weights; None: drawn from the run's seed."""


class Encode:
    """A Ray Data actor: eval views in, one feature vector per sample and subject out."""

    def __init__(self, config: dict[str, Any], subjects: list[Subject]):
        run_config = parse(config)
        torch.set_num_threads(run_config.train.threads or os.cpu_count() or 1)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._chain = build_chain(run_config.views["eval"])
        self._encoders: dict[str, nn.Module | None] = {}
        for subject in subjects:
            if subject.name == "raw_input":
                self._encoders[subject.name] = None
                continue
            method = build_method(run_config.method, run_config.encoder, run_config.views, seed=run_config.seed)
            if subject.checkpoint is not None:
                method.load_state_dict(checkpoint.weights(Path(subject.checkpoint)))
            encoder = method.encoder.eval().to(self._device)
            self._encoders[subject.name] = encoder.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, batch: Columns) -> dict[str, NDArray[Any]]:
        raw = torch.from_numpy(np.array(batch["view0"])).to(self._device)  # [B, S, S, 3] uint8
        view = self._chain.finish(raw)
        made: dict[str, NDArray[Any]] = {"sample_id": batch["sample_id"]}
        for name, encoder in self._encoders.items():
            features = raw_input(raw) if encoder is None else encoder(view).pooled  # [B, D]
            made[name] = features.float().cpu().numpy()
        return made


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
    features = _features(config, shards, listing, folder.parent.parent / "features", subjects)
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


def _features(
    config: RunConfig, shards: ShardSet, listing: Manifest, root: Path, subjects: list[Subject]
) -> dict[str, FeatureSet]:
    """Features of every subject on both splits; what is not on disk yet is made in one pass over the shards."""
    view, limit = config.views["eval"].model_dump(mode="json"), config.evaluate.max_samples
    keys = {s.name: fingerprint([shards.digest, view, limit, s.name, s.identity])[:16] for s in subjects}
    kept: dict[str, FeatureSet] = {name: FeatureSet(folder=root / key) for name, key in keys.items()}
    missing = [s for s in subjects if not (kept[s.name].has("train") and kept[s.name].has("test"))]
    if not missing:
        return kept
    from pipelines.stages.views import both_splits

    engine.connect(config)
    engine.data_context(cpus=1 + config.data.cpus)
    data, num_train = both_splits(config, shards.folder, listing, limit)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args")  # max_restarts has no other way in
        made = data.map_batches(
            Encode,
            fn_constructor_args=(config.model_dump(mode="json"), missing),
            batch_size=config.evaluate.batch_size,
            concurrency=1,
            num_gpus=int(engine.num_gpus() > 0),
            max_restarts=0,  # else Ray says on the terminal that restarts could lose the arguments; `run` again does it
        )
    parts = list(made.iter_batches(batch_size=None, batch_format="numpy"))
    sample_id = torch.from_numpy(np.concatenate([part["sample_id"] for part in parts]))  # [N]
    for subject in missing:
        rows = torch.from_numpy(np.concatenate([part[subject.name] for part in parts]))  # [N, D]
        kept[subject.name].keep("train", rows[:num_train], sample_id[:num_train])
        kept[subject.name].keep("test", rows[num_train:], sample_id[num_train:])
    return kept


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
