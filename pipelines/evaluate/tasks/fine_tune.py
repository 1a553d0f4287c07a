"""Fine-tuning as evaluation: all weights trained on the labels of train, through pre-training's Ray Train path.

Each training lies in `fine_tuned/KEY` below the storage, named by what it depends on: it is resumed where it was
stopped and reused by later evaluations. In MLflow it is a run of its own beside the evaluation's, with the curves of a
pre-training and the score they end in. Shapes: N test samples, D encoder width, C classes.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.config.evaluate import FINE_TUNED, FineTuneConfig
from pipelines.config.flat import fingerprint
from pipelines.config.parse import parse
from pipelines.config.run import RunConfig, SetupConfig
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.evaluate.features import encode
from pipelines.evaluate.features.encode import Subject
from pipelines.evaluate.tasks.base import Evaluated, EvaluationTask, Outcome
from pipelines.runtime import session
from pipelines.storage import checkpoint, lock, outbox
from pipelines.storage.atomic import write_tensors
from pipelines.tracking import display, runs
from pipelines.train import pretrain
from pipelines.train.artifact import Checkpoint
from pipelines.train.warm_start import WarmStart
from ssl_core.augment.base import Augmentation
from ssl_core.build import build_chain, untrained
from ssl_core.config import NamedConfig
from ssl_core.evaluate.base import mean_score
from ssl_core.spec import IMAGE_AXES
from ssl_core.tasks.classification import Classification

SCORE = FINE_TUNED
VERSION = 1
NOTE_SECONDS = 10.0
HITS = "hits.safetensors"


class FineTune(EvaluationTask):
    """Accuracy of all weights trained on the labels of train, from pre-training and from random weights."""

    score = SCORE

    class Config(FineTuneConfig, NamedConfig):
        name: Literal["fine_tune"] = "fine_tune"

    def __init__(self, config: Config):
        self.config = config

    @property
    def protocol(self) -> str:
        settings = self.config
        return (
            f"fine_tune v{VERSION}: all weights, {settings.epochs} epochs of AdamW at {settings.lr:g} per 256 samples, "
            f"layer decay {settings.layer_decay:g} (random init: none), weight decay {settings.weight_decay:g}, label "
            f"smoothing {settings.label_smoothing:g}, last step"
        )

    def check(self, chain: Augmentation) -> None:
        if self.config.view is None and chain.spec.axes != IMAGE_AXES:
            axes = " x ".join(chain.spec.axes)
            raise ValueError(f"without `view` it trains on image_crop, and the views are {axes}; give view")

    def measure(self, given: Evaluated, outcome: Outcome) -> None:
        if not given.labels:
            raise UserError("evaluate.fine_tune: needs labels, these data have none (source.labels); set it to null")
        for name, right in fine_tune(given, self.config).items():
            outcome.scores[name][SCORE] = mean_score(right)
        outcome.metrics[SCORE] = outcome.scores["encoder"][SCORE].value
        outcome.protocols["fine_tune"] = self.protocol


def fine_tune(given: Evaluated, settings: FineTuneConfig) -> dict[str, Tensor]:
    """Whether each test sample is told right, [N] bool, by subject: the encoder, and the same from random weights.

    Raises:
        UserError: too few samples for a batch, or what a pre-training raises.
    """
    config, shards, listing = given.config, given.shards, given.listing
    if listing.num_rows("train") < settings.global_batch_size:
        raise UserError(
            f"evaluate.fine_tune.global_batch_size: {settings.global_batch_size} is more than the "
            f"{listing.num_rows('train')} train samples; lower it"
        )
    tuned, root = training_config(config, settings, len(listing.classes or ())), given.folder.parent.parent
    found = {}
    for subject in given.subjects:
        if subject.name == "raw_input":
            continue
        decay = 1.0 if subject.weights is None else settings.layer_decay
        begin = WarmStart(subject.weights, decay)
        tested = [tuned.views["eval"].model_dump(mode="json"), config.evaluate.max_samples]
        read = [pretrain.PRETRAIN.deciding(tuned), tested, decay]
        key = fingerprint([VERSION, shards.digest, subject.identity, read])[:16]
        work, name = root / "fine_tuned" / key, f"fine_tune/{subject.name}"
        work.mkdir(parents=True, exist_ok=True)
        with (
            lock.alone(work / ".lock"),
            runs.stage_run(config, root, name, work, reused=(work / HITS).exists()),
            _told(given.folder, name, work),
        ):
            found[subject.name] = _hits(tuned, shards, listing, given.labels["test"], begin, work)
    return found


def training_config(config: SetupConfig, settings: FineTuneConfig, num_classes: int) -> RunConfig:
    """The pre-training that a fine-tuning is: method `supervised` on the same shards and encoder."""
    size = build_chain(config.views["eval"]).view_shape[-1]
    view = settings.view.model_dump(mode="json") if settings.view else {"name": "image_crop", "size": size}
    kept = ("name", "seed", "storage", "source", "ingest", "data", "tracking", "ray")
    hardware = ("num_workers", "parallel", "device", "precision", "threads", "checkpoint_seconds", "max_failures")
    train = {"epochs": settings.epochs, "global_batch_size": settings.global_batch_size, "monitor_samples": 0}
    if isinstance(config, RunConfig):
        train |= config.train.model_dump(mode="json", include=set(hardware))
    tree: dict[str, Any] = config.model_dump(mode="json", include=set(kept))
    measured = ("batch_size", "max_samples")
    tree |= {
        "views": {"global": view, "eval": config.views["eval"].model_dump(mode="json")},
        "encoder": untrained(config.encoder).model_dump(mode="json"),
        "method": {"name": "supervised", "num_classes": num_classes, "label_smoothing": settings.label_smoothing},
        "optim": {
            "lr": settings.lr,
            "weight_decay": settings.weight_decay,
            "warmup_fraction": settings.warmup_fraction,
        },
        "train": train,
        "evaluate": config.evaluate.model_dump(mode="json", include=set(measured)),
    }
    try:
        return parse(tree)
    except UserError as error:
        raise UserError(f"evaluate.fine_tune: {error}") from None


def _hits(
    tuned: RunConfig, shards: ShardSet, listing: Manifest, labels: Mapping[int, int], begin: WarmStart, work: Path
) -> Tensor:
    kept = work / HITS
    if not kept.exists():
        (work / "begin.json").write_text(json.dumps(asdict(begin)))
        made = pretrain.run(tuned, shards, work, begin)
        right = hits(tuned, made, listing, labels)
        score = {SCORE: float(right.double().mean())}
        outbox.append(work, step=made.step, total=made.step, metrics=score, final=True)
        write_tensors(kept, {"hits": right})
    return load_file(kept)["hits"]


def hits(tuned: RunConfig, made: Checkpoint, listing: Manifest, labels: Mapping[int, int]) -> Tensor:
    """Whether encoder and classifier of a `supervised` checkpoint are right on the eval view of test samples, [N]."""
    from pipelines.data.batches.stream import one_split

    session.connect(tuned)
    data = one_split(tuned, made.shards.folder, listing, "test", tuned.evaluate.max_samples, [tuned.views["eval"]])
    sample_id, features = encode.embed(tuned, data, [Subject("encoder", made.digest, str(made.folder))])
    weights = checkpoint.weights(made.folder)
    task = Classification(Classification.Config(num_classes=len(weights["classifier.bias"])))
    head = task.head(features["encoder/0"].shape[1])
    head.load_state_dict({name: weights[f"classifier.{name}"] for name in head.state_dict()})
    with torch.no_grad():
        predicted = task.predict(head(features["encoder/0"]))  # [N]
    label = torch.tensor([labels[i] for i in sample_id.tolist()])  # [N]
    return predicted == label


@contextmanager
def _told(folder: Path, name: str, work: Path) -> Iterator[None]:
    """Pass on how far a training is, as notes of the stage that waits for it."""
    seen = 0

    def tell() -> None:
        nonlocal seen
        points, seen = outbox.tail(work, seen)
        if points:
            outbox.note(folder, f"{name}: {display.describe(points[-1], None)}")

    outbox.note(folder, f"{name}: training in {work}")
    with display.repeating(NOTE_SECONDS, tell):
        yield
