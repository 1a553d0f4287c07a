"""Registered versions to review, made as the stages make them but without training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.ingest import INGEST
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.report import samples, text
from pipelines.evaluate.scoring import outcomes
from pipelines.evaluate.scoring.scores import ClassScores, LeakPair, Leaks, Scores
from pipelines.model import versions
from pipelines.registry.artifact import ModelVersion
from pipelines.registry.register import REGISTER
from pipelines.storage import checkpoint, outbox
from pipelines.storage.inputs import RECORD
from pipelines.tracking import runs
from pipelines.tracking.server import storage
from pipelines.train.artifact import Checkpoint
from pipelines.train.audit import Audit, EpochCount
from ssl_core.build import build_method
from ssl_core.optimize.optimizers import build_optimizer
from tests.support.recipe import TREE

CLASSES = ("cat|1", "<b>dog</b>")
"""Names that Markdown and HTML would read as their own."""
NUM_TEST = 60
HEADLINE = "knn_top1_k20"
PICTURE = bytes(cv2.imencode(".png", np.full((20, 30, 3), 90, np.uint8))[1])
"""What the evaluation drew."""
LEAKS = Leaks(num_exact=0, num_near=0, num_checked=NUM_TEST, rate=0.0)
OVERLAP = Leaks(
    num_exact=6,
    num_near=0,
    num_checked=NUM_TEST,
    rate=0.1,
    pairs=(LeakPair(train=3, test=101, kind="bytes", distance=0, train_origin="a/3.png", test_origin="b/<1>.png"),),
)


def recipe(root: Path, name: str, **changes: Any) -> RunConfig:
    return parse({**TREE, "name": name, "storage": str(root)}, changes)


def register(
    root: Path,
    config: RunConfig,
    right: int = 45,
    *,
    seed: int = 0,
    shards: str = "",
    scored: bool = True,
    campaign: Mapping[str, Any] | None = None,
    **more: Any,
) -> ModelVersion:
    """One more version of the model `config.name`.

    Args:
        right: of the NUM_TEST test samples, how many the headline probe gets right: the first ones.
        seed: of the weights.
        shards: makes the data's digest another one.
        scored: False: the data have no labels.
        campaign: report.json of a campaign that it won.
        more: fields of Scores to set.
    """
    folder = root / "made" / f"{config.name}-{seed}-{right}-{shards}"
    method = build_method(config.method, config.encoder, config.views, seed=seed)
    optimizer = build_optimizer(config.optim, method, 0.1)
    path = checkpoint.save(folder / "checkpoints", 12, method, optimizer, {"total": 12})
    given = Checkpoint(digest=checkpoint.digest(path), shards=_shards(folder / "shards", shards), folder=path, step=12)
    evaluated = folder / "evaluate"
    scores = _report(evaluated / "report", right, seed, scored, more)
    if campaign is not None:
        (evaluated / "report" / "report.json").write_text(json.dumps(campaign))
    outbox.append(evaluated, step=1, total=1, metrics=dict(scores.encoder), final=True)
    digest = f"{config.name} {seed} {right} {shards}"
    made = ProbeReport(digest=digest, checkpoint=given, folder=evaluated, scores=scores, verdict=text.verdict(scores))
    (evaluated / RECORD).write_text(made.model_dump_json())
    trained = folder / "pretrain"
    _audit().write(trained / "report")
    with runs.run(config, root):
        with runs.stage_run(config, root, "ingest", given.shards.folder, reused=False, dataset=INGEST.dataset):
            pass
        for name, stage in (("pretrain", trained), ("evaluate", evaluated)):
            with runs.stage_run(config, root, name, stage, reused=False):
                pass
        return REGISTER(config, made, root)


def score_again(root: Path, config: RunConfig, version: int, shards: Path, right: int, **more: Any) -> None:
    """What `selfray evaluate NAME/VERSION --on SHARDS` leaves on the server; arguments as of `register`."""
    folder = root / "again" / f"{config.name}-{version}-{right}"
    scores = _report(folder / "report", right, 0, True, more)
    outbox.append(folder, step=1, total=1, metrics=dict(scores.encoder), final=True)
    uri = storage(config, root)
    sha256 = versions.find(f"{config.name}/{version}", uri).tags[versions.SHA256]
    with runs.run(config.model_copy(update={"name": f"{config.name}-{version}-again"}), root):
        tags = {"selfray.model": config.name, "selfray.model_version": str(version), "selfray.sha256": sha256}
        runs.tag(tags)
        runs.scored_on(shards, manifest.load(shards).summary())
        with runs.stage_run(config, root, "evaluations", folder, reused=False):
            pass


def _shards(folder: Path, salt: str) -> ShardSet:
    folder.mkdir(parents=True)
    counts = {"num_quarantined": 0, "num_duplicates": 0}
    classes = (salt,) if salt else None  # a part of the digest
    empty = Manifest(source={"name": "digits"}, train=(), test=(), classes=classes, **counts)
    listing = empty.model_copy(update={"digest": empty.compute_digest()})
    (folder / manifest.NAME).write_text(listing.model_dump_json())
    return ShardSet(digest=listing.digest, folder=folder, num_train=9, num_test=1, num_classes=None, **counts)


def _report(folder: Path, right: int, seed: int, scored: bool, more: dict[str, Any]) -> Scores:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    ids = np.arange(100, 100 + NUM_TEST)
    label = np.arange(NUM_TEST) % 2
    hits = (torch.arange(NUM_TEST) < right).float()
    images = draw.integers(0, 256, (NUM_TEST, 8, 8, 3), dtype=np.uint8)
    features = (draw.normal(size=(NUM_TEST, 16)) + 3 * label[:, None]).astype(np.float32)
    samples.save(folder, ids, features, images, label if scored else None, CLASSES if scored else None)
    accuracy = right / NUM_TEST
    fields: dict[str, Any] = {"health": {"rankme": 7.5, "feature_std": 0.2}, "leaks": LEAKS, "num_test": NUM_TEST}
    if scored:
        outcomes.save(folder, torch.from_numpy(ids), {HEADLINE: hits})
        fields |= {"encoder": {HEADLINE: accuracy}, "random_init": {HEADLINE: 0.3}, "raw_input": {HEADLINE: 0.4}}
        fields |= {"intervals": {HEADLINE: (accuracy - 0.1, accuracy + 0.1)}, "headline": HEADLINE}
        fields |= {"gains": {HEADLINE: (accuracy - 0.5, accuracy - 0.3)}, "protocols": {"knn": "knn v1: cosine, k=20"}}
        scores = [ClassScores(name=name, support=30, precision=0.8, recall=0.7, f1=0.75) for name in CLASSES]
        fields |= {"per_class": tuple(scores)}
    made = Scores(**{**fields, **more})
    (folder / "scores.json").write_text(text.json_text(made))
    (folder / "reconstructions.png").write_bytes(PICTURE)
    (folder / "report.md").write_text(text.markdown(made, "made", {"Reconstructions": "reconstructions.png"}))
    return made


def _audit() -> Audit:
    epoch = EpochCount(epoch=0, planned=192, consumed=192, repeated=0, skipped=0, replaced=0)
    return Audit(
        epochs=(epoch,), dropped_per_epoch=0, steps=12, total=12, wrong_steps=(), restarts=(7,), taken_again=1,
        ingest_quarantined=0, quarantined=(),
    )  # fmt: skip


def results(case: Any) -> dict[str, Any]:
    """Gate -> whether a review's case passes it."""
    return {gate.name: gate.passed for gate in case.review.judged}


def gate(case: Any, name: str) -> Any:
    return next(gate for gate in case.review.judged if gate.name == name)
