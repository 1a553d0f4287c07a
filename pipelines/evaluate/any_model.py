"""The config of `selfray evaluate MODEL --on DATA`: any encoder, scored on any data."""

import re
from collections.abc import Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import model_validator

from pipelines.config.evaluate import check_headline, check_tasks
from pipelines.config.parse import parse_as, read_tree, with_changes
from pipelines.config.run import SetupConfig
from pipelines.config.sections import TrackingConfig
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.model import loader, resolve
from pipelines.model.resolve import Found
from pipelines.storage import parquet
from pipelines.tracking import server
from ssl_core.build import build_chain, check_eval_view, drawn_encoder, untrained
from ssl_core.config import Config

VIEW = {"name": "image_eval", "size": 224}
"""Of a foreign encoder whose YAML names none: what published weights were tested with."""
TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "testing", "val", "valid", "validation")


class EvaluationConfig(SetupConfig):
    model: str
    """What is scored, as it was asked for."""
    on: Path
    """What it is scored on."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "EvaluationConfig":
        check_eval_view(self.views)
        if unread := sorted(set(self.views) - {"eval"}):
            raise ValueError(f"views.{unread[0]}: nobody reads it; an evaluation reads eval")
        check_headline(self.evaluate)
        check_tasks(self.evaluate, build_chain(self.views["eval"]).spec)
        return self


class Places(Config):
    """The keys that must be known before the model can be looked up."""

    storage: Path = SetupConfig.model_fields["storage"].default
    tracking: TrackingConfig = TrackingConfig()


def places(model: str, changes: Mapping[str, Any]) -> Places:
    """Storage and tracking of an evaluation; arguments as of `plan`."""
    tree = with_changes(read(model), changes)
    return parse_as(Places, {key: tree[key] for key in Places.model_fields if key in tree})


def plan(model: str, on: Path, changes: Mapping[str, Any], root: Path) -> tuple[EvaluationConfig, Found]:
    """The checked config, and the encoder packed under `root`.

    Args:
        model: anything that `pipelines.model.resolve.find` takes, or a YAML file that names an encoder and its weights.
        on: shards, a folder of images, or Parquet.
        changes: dotted keys of `--set`.
    Raises:
        UserError: there is no such model or data, or the keys do not fit.
    """
    tree: dict[str, Any] = {"model": model, "on": str(on), "source": source(on)}
    if is_yaml(model):
        given = read(model)
        if "method" in given:
            raise UserError(f"{model}: is a training's recipe; with --on give its checkpoint or a registered version")
        tree = {"name": f"{plain(Path(model).stem)}-on-{plain(on.stem)}", "views": {"eval": VIEW}, **given, **tree}
        config = parse_as(EvaluationConfig, tree, changes)
        return config, _foreign(config, root)
    encoder = resolve.find(model, root, server.storage(places(model, changes), root))
    tree |= {"name": f"{plain(encoder.title)}-on-{plain(on.stem)}", "encoder": encoder.card.encoder}
    tree |= {"views": {"eval": encoder.card.view}, "ingest": {"max_pixels": encoder.card.max_pixels}}
    return parse_as(EvaluationConfig, tree, changes), encoder


def shards_at(folder: Path) -> ShardSet | None:
    """The shards in a folder, checked; None: it holds other things.

    Raises:
        UserError: they are not those of the manifest.
    """
    if not (folder / manifest.NAME).exists():
        return None
    listing = manifest.load(folder)
    manifest.verify(folder, listing)
    return ShardSet(
        digest=listing.digest,
        folder=folder.absolute(),
        num_train=listing.num_rows("train"),
        num_test=listing.num_rows("test"),
        num_classes=len(listing.classes) if listing.classes else None,
        num_quarantined=listing.num_quarantined,
        num_duplicates=listing.num_duplicates,
    )


def source(on: Path) -> dict[str, Any]:
    """The source that reads `on`; folders named like the two splits are the splits.

    Raises:
        UserError: nothing is there.
    """
    if not on.exists() and has_magic(str(on)):
        return _parquet(on)
    if not on.exists():
        raise UserError(f"--on: {on}: no such file or folder; give shards, a folder of images, or Parquet")
    if (on / manifest.NAME).exists():
        return dict(manifest.load(on).source)
    if on.suffix == ".parquet" or next(on.rglob("*.parquet"), None) is not None:
        return _parquet(on)
    inside = {path.name.lower(): path for path in on.iterdir() if path.is_dir()} if on.is_dir() else {}
    train = next((inside[name] for name in TRAIN_NAMES if name in inside), None)
    test = next((inside[name] for name in TEST_NAMES if name in inside), None)
    if train and test and len(inside) == 2:
        return {"name": "image_folder", "path": str(train), "test_path": str(test)}
    return {"name": "image_folder", "path": str(on)}


def is_yaml(model: str) -> bool:
    """Whether it is the file of a foreign encoder."""
    return Path(model).suffix in (".yaml", ".yml")


def read(model: str) -> dict[str, Any]:
    """What the file of a foreign encoder says; of any other model there is nothing to read.

    Raises:
        UserError: there is no such file.
    """
    if not is_yaml(model):
        return {}
    if not Path(model).exists():
        raise UserError(f"{model}: no such file")
    return read_tree(Path(model))


def plain(text: str) -> str:
    """As run names allow it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:45] or "data"


def _parquet(on: Path) -> dict[str, Any]:
    """Files named train... and test... are the splits; a column `label` holds the labels."""
    pattern = str(on / "**/*.parquet" if on.is_dir() else on)
    files = [Path(name) for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207 (absolute)
    if not files:
        raise UserError(f"--on: no file matches {on}")
    splits = {"path": str(on)}
    if on.is_dir() and all(any(file.name.startswith(word) for file in files) for word in ("train", "test")):
        splits = {"path": str(on / "**/train*.parquet"), "test_path": str(on / "**/test*.parquet")}
    try:
        with parquet.opened(files[0]) as file:
            names = file.schema_arrow.names
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"--on: {files[0]}: not a Parquet file ({error})") from None
    return {"name": "parquet", **splits, **({"label": "label"} if "label" in names else {})}


def _foreign(config: EvaluationConfig, root: Path) -> Found:
    """The encoder of a YAML file, with its weights, as a packed model."""
    weights = getattr(config.encoder, "weights", None)
    if weights is None:
        raise UserError(
            f"{config.model}: encoder.weights: name the file with the weights to score; encoders that take one: "
            "torchvision, timm"
        )
    try:
        encoder = drawn_encoder(config.encoder, config.views, config.seed)
    except ValueError as error:
        raise UserError(f"{config.model}: {error}") from None
    card = loader.card_of(
        name=Path(config.model).stem,
        encoder=untrained(config.encoder).model_dump(mode="json"),
        view=config.views["eval"].model_dump(mode="json"),
        max_pixels=config.ingest.max_pixels,
        checkpoint="",
        shards="",
    )
    kept = resolve.keep(encoder.state_dict(), card, root)
    return Found(kept.folder, kept.card, kept.title, {**kept.tags, "selfray.weights": str(weights)})
