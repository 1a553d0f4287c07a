"""The config of `selfray evaluate MODEL --on DATA`: any encoder, scored on any data."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import model_validator

from pipelines.config import codecs
from pipelines.config.evaluate import check_headline, check_tasks
from pipelines.config.parse import parse_as, read_tree, with_changes
from pipelines.config.run import SetupConfig
from pipelines.config.sections import TrackingConfig
from pipelines.data import by_path
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.model import card_file, resolve
from pipelines.model.card_file import Card
from pipelines.model.resolve import ResolvedModel
from pipelines.tracking import server
from ssl_core.build import build_chain, check_eval_view, drawn_encoder, untrained
from ssl_core.catalog import find
from ssl_core.config import Config

VIEW = {"name": "image_eval", "size": 224}
"""Of a foreign encoder whose YAML names none: what published weights were tested with."""


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
        codecs.check(self)
        check_headline(self.evaluate)
        check_tasks(self.evaluate, build_chain(self.views["eval"]))
        return self


class Places(Config):
    """The keys that must be known before the model can be looked up."""

    storage: Path = SetupConfig.model_fields["storage"].default
    tracking: TrackingConfig = TrackingConfig()


def places(model: str, changes: Mapping[str, Any]) -> Places:
    """Storage and tracking of an evaluation; arguments as of `plan`."""
    tree = with_changes(read(model), changes)
    return parse_as(Places, {key: tree[key] for key in Places.model_fields if key in tree})


def plan(model: str, on: Path, changes: Mapping[str, Any], root: Path) -> tuple[EvaluationConfig, ResolvedModel]:
    """The checked config, and the encoder packed under `root`.

    Args:
        model: anything that `pipelines.model.resolve.find` takes, or a YAML file that names an encoder and its weights.
        on: shards, a folder of images, or Parquet.
        changes: dotted keys of `--set`.
    Raises:
        UserError: there is no such model or data, or the keys do not fit.
    """
    tree: dict[str, Any] = {"model": model, "on": str(on)}
    if is_yaml(model):
        given = read(model)
        if "method" in given:
            raise UserError(f"{model}: is a training's recipe; with --on give its checkpoint or a registered version")
        tree = {"name": f"{plain(Path(model).stem)}-on-{plain(on.stem)}", "views": {"eval": VIEW}, **given, **tree}
        tree["source"] = source(on, _codec_name(with_changes(tree, changes)))
        config = parse_as(EvaluationConfig, tree, changes)
        return config, _foreign(config, root)
    encoder = resolve.find(model, root, server.storage(places(model, changes), root))
    tree |= {"name": f"{plain(encoder.title)}-on-{plain(on.stem)}", "encoder": encoder.card.encoder}
    view = card_file.view_of(encoder.folder).model_dump(mode="json")
    tree |= {"views": {"eval": view}, "ingest": _limits(encoder.card)}
    tree |= {"evaluate": {"layer": list(encoder.card.layers)}} if encoder.card.layers else {}
    tree["source"] = source(on, encoder.card.codec_config().name)
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


def source(on: Path, codec: str) -> dict[str, Any]:
    """The source that reads `on` as samples of this codec.

    Raises:
        UserError: nothing is there.
    """
    if (on / manifest.NAME).exists():
        return dict(manifest.load(on).source)
    try:
        return by_path.source_of(on, codec)
    except UserError as error:
        raise UserError(f"--on: {error}") from None


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


def _foreign(config: EvaluationConfig, root: Path) -> ResolvedModel:
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
    card = card_file.card_of(
        name=Path(config.model).stem,
        encoder=untrained(config.encoder).model_dump(mode="json"),
        view=config.views["eval"].model_dump(mode="json"),
        codec=codecs.of_view(config, config.views["eval"]),
        checkpoint="",
        shards="",
    )
    kept = resolve.keep(encoder.state_dict(), card, root)
    return ResolvedModel(kept.folder, kept.card, kept.title, {**kept.tags, "selfray.weights": str(weights)})


def _limits(card: Card) -> dict[str, Any]:
    """The keys of `ingest:` that a packed model brings with it."""
    if not card.codec:
        return {"max_pixels": card.max_pixels}
    field = find("ssl_core.augment", str(card.view["name"])).field
    return {"codecs": {field: card.codec}}


def _codec_name(tree: Mapping[str, Any]) -> str:
    """Of the eval view of an unchecked config; a mistake in it is said when it is checked."""
    view = (tree.get("views") or {}).get("eval") or VIEW
    try:
        codec: str = find("ssl_core.augment", str(view.get("name"))).codec
    except (ValueError, AttributeError):
        return "image"
    return codec
