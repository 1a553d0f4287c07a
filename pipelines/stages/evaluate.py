"""Score the frozen encoder with every probe, beside its two floors, and draw the report."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines import checkpoint, manifest, outbox, report
from pipelines.artifacts import Checkpoint, ProbeReport
from pipelines.config import RunConfig, fingerprint, parse
from pipelines.errors import UserError
from pipelines.features import FeatureSet, raw_input
from pipelines.manifest import Manifest
from pipelines.stages import engine
from pipelines.stages.base import Stage
from ssl_core.build import build_chain, build_method
from ssl_core.catalog import find
from ssl_core.gauges import feature_std, rankme, uniformity

Split = Literal["train", "test"]
Columns = Mapping[str, NDArray[Any]]


class Encode:
    """A Ray Data actor: eval views in, one feature vector per sample out."""

    def __init__(self, config: dict[str, Any], weights: str | None):
        """weights: a checkpoint's folder, or None for the random initialization."""
        run_config = parse(config)
        torch.set_num_threads(run_config.train.threads or os.cpu_count() or 1)
        method = build_method(run_config.method, run_config.encoder, run_config.views, seed=run_config.seed)
        if weights is not None:
            method.load_state_dict(checkpoint.weights(Path(weights)))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder = method.encoder.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._chain = build_chain(run_config.views["eval"])

    @torch.no_grad()
    def __call__(self, batch: Columns) -> dict[str, NDArray[Any]]:
        view = torch.from_numpy(np.array(batch["view0"])).to(self._device)
        pooled = self._encoder(self._chain.finish(view)).pooled  # [B, D]
        return {"sample_id": batch["sample_id"], "features": pooled.float().cpu().numpy()}


class Pixels:
    """The same for the raw input."""

    def __call__(self, batch: Columns) -> dict[str, NDArray[Any]]:
        return {
            "sample_id": batch["sample_id"],
            "features": raw_input(torch.from_numpy(np.array(batch["view0"]))).numpy(),
        }


def run(config: RunConfig, given: Checkpoint, folder: Path) -> ProbeReport:
    """Features of encoder, random-init encoder and raw input; all probes on each; report in `folder/report`."""
    shards = given.shards
    listing = manifest.load(shards.folder)
    labels = _labels(shards.folder, listing)
    looked = _Progress(folder, 3 + (3 * len(config.evaluate.probes) if labels else 0) + 2)
    subjects: dict[str, tuple[str, Callable[..., Any], tuple[Any, ...]]] = {
        "encoder": (given.digest, Encode, (_plain(config), str(given.folder))),
        "random_init": (f"random {config.seed}", Encode, (_plain(config), None)),
        "raw_input": ("pixels", Pixels, ()),
    }
    features: dict[str, FeatureSet] = {}
    scores: dict[str, dict[str, float]] = {}
    for name, (identity, maker, arguments) in subjects.items():
        encoder = None if name == "raw_input" else config.encoder.model_dump(mode="json")
        key = fingerprint(
            [shards.digest, config.views["eval"].model_dump(), encoder, identity, config.evaluate.max_samples]
        )
        kept = FeatureSet(folder=folder.parent.parent / "features" / key[:16])
        _compute(config, shards.folder, listing, kept, maker, arguments)
        looked.step({})
        features[name], scores[name] = kept, {}
        if labels:
            for probe_config in config.evaluate.probes:
                probe = find("ssl_core.evaluate", probe_config.name)(probe_config)
                scores[name] |= kept.scores(probe, labels, config.seed)
                looked.step({} if name != "encoder" else scores[name])
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
        gauges=gauges,
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


def _compute(
    config: RunConfig,
    shards: Path,
    listing: Manifest,
    kept: FeatureSet,
    maker: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """Fill `kept` with both splits, streaming through Ray Data; does nothing where it is filled already."""
    from pipelines.stages.views import split_dataset

    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        if kept.has(split):
            continue
        engine.connect(config)
        engine.data_context(cpus=1 + config.data.cpus)
        data = split_dataset(config, shards, listing, split, config.evaluate.max_samples)
        made = data.map_batches(
            maker,
            fn_constructor_args=arguments,
            batch_size=config.evaluate.batch_size,
            concurrency=1,
            num_gpus=int(maker is Encode and engine.num_gpus() > 0),
            max_restarts=0,  # Ray warns that restarts could lose the arguments; a second `run` does the split again
        )
        parts = list(made.iter_batches(batch_size=None, batch_format="numpy"))
        features = np.concatenate([part["features"] for part in parts])  # [N, D]
        sample_id = np.concatenate([part["sample_id"] for part in parts])
        kept.keep(split, torch.from_numpy(features), torch.from_numpy(sample_id))


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


def _plain(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


class _Progress:
    """One outbox line per finished piece of the evaluation."""

    def __init__(self, folder: Path, total: int):
        self._folder, self._total, self._done = folder, total, 0

    def step(self, metrics: Mapping[str, float]) -> None:
        self._done += 1
        outbox.append(self._folder, step=self._done, total=self._total, metrics=metrics, final=True)
