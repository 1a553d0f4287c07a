"""A registered version without training: a checkpoint and a report as the earlier stages leave them."""

from pathlib import Path
from typing import Any

import torch

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.report import text
from pipelines.model import card_file, examples, loader
from pipelines.model.card_file import Card
from pipelines.model.embedder import Embedder
from pipelines.model.examples import EXAMPLES
from pipelines.registry.artifact import ModelVersion
from pipelines.registry.register import REGISTER
from pipelines.storage import checkpoint, outbox
from pipelines.storage.checksum import sha256_of
from pipelines.tracking import runs
from pipelines.train.artifact import Checkpoint
from ssl_core.build import build_method
from ssl_core.catalog import find
from ssl_core.encoders.base import Encoder
from ssl_core.optimize.optimizers import build_optimizer
from tests.support.recipe import TREE
from tests.support.tiny import SMALL_ENCODERS, image_spec, tiny_encoder


def recipe(root: Path, name: str, **changes: Any) -> RunConfig:
    return parse({**TREE, "name": name, "storage": str(root)}, changes)


def pretrained(root: Path, config: RunConfig) -> tuple[Encoder, ProbeReport]:
    """A checkpoint and a report as the earlier stages leave them."""
    method = build_method(config.method, config.encoder, config.views, seed=len(config.name))
    optimizer = build_optimizer(config.optim, method, 0.1)
    path = checkpoint.save(root / config.name / "checkpoints", 12, method, optimizer, {"total": 12})
    shards = root / config.name / "shards"
    shards.mkdir(parents=True)
    empty = Manifest(source={"name": "digits"}, train=(), test=(), classes=None, num_quarantined=0, num_duplicates=0)
    listing = empty.model_copy(update={"digest": empty.compute_digest()})
    (shards / manifest.NAME).write_text(listing.model_dump_json())
    counts = {"num_train": 9, "num_test": 1, "num_classes": None, "num_quarantined": 0, "num_duplicates": 0}
    given = Checkpoint(
        digest=checkpoint.digest(path),
        shards=ShardSet(digest=listing.digest, folder=shards, **counts),
        folder=path,
        step=12,
    )
    scores = text.Scores(encoder={"knn_top1_k20": 0.75}, random_init={"knn_top1_k20": 0.5}, raw_input={})
    scored = root / config.name / "evaluate"
    scored.mkdir()
    outbox.append(scored, step=1, total=1, metrics={"knn_top1_k20": 0.75}, final=True)
    made = ProbeReport(
        digest=f"of {config.name}", checkpoint=given, folder=scored, scores=scores, verdict=text.verdict(scores)
    )
    return method.encoder.eval(), made


def register(config: RunConfig, root: Path, given: ProbeReport) -> ModelVersion:
    with runs.run(config, root):
        with runs.stage_run(config, root, "evaluate", given.folder, reused=False):
            pass
        return REGISTER(config, given, root)


def pack_tiny(folder: Path, encoder: str = "convnet", seed: int = 0, size: int = 8) -> Path:
    """A packed model of random weights, with drawn examples, as `register` leaves it."""
    chain = {"name": "image_eval", "size": size}
    torch.manual_seed(seed)
    module = tiny_encoder(encoder, image_spec(3, size, size)).eval()
    config = find("ssl_core.encoders", encoder).Config(**SMALL_ENCODERS.get(encoder, {}))
    card = Card(
        name="tiny",
        encoder=config.model_dump(mode="json"),
        view=chain,
        view_shape=module.view_shape,
        embed_dim=module.embed_dim,
        max_pixels=1_000_000,
        sha256="",
        checkpoint="",
        shards="",
    )
    card = loader.pack(folder, module.state_dict(), card)
    embedder = Embedder(folder)
    examples.write(folder / EXAMPLES, embedder.drawn(), embedder.embed_files(embedder.drawn()))
    card_file.write_card(folder, card.model_copy(update={"examples": sha256_of(folder / EXAMPLES)}))
    return folder
