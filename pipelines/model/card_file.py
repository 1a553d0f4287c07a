"""config.json of a packed encoder: everything needed to build it and to feed it; read without running code.

Beside it lie the weights and, where the view has a trained one, the tokenizer.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt, ValidationError, field_validator

from pipelines.config.chosen import chosen
from pipelines.errors import UserError
from ssl_core.build import build_encoder, untrained
from ssl_core.catalog import find
from ssl_core.config import Config, NamedConfig
from ssl_core.encoders._at_layers import at_layers

WEIGHTS, CARD = "encoder.safetensors", "config.json"
EXPORTED = f"{WEIGHTS}.json"
"""What `export` writes beside the two."""
TOKENIZER = "tokenizer.json"
"""Beside them where the view has a tokenizer that was trained; its sha256 stands in the card."""
FORMAT = 1


class Card(Config):
    """config.json: everything needed to build the encoder and to feed it."""

    format: int = FORMAT
    name: str
    encoder: dict[str, Any]
    view: dict[str, Any]
    """The augmentation chain that turns decoded samples into what the encoder reads."""
    view_shape: tuple[int, ...]
    embed_dim: PositiveInt
    max_pixels: PositiveInt | None = None
    """Larger images are refused before they are decoded; null: the samples are no images."""
    codec: dict[str, Any] = {}
    """What decodes the samples; empty: the codec of images."""
    layers: tuple[int, ...] = ()
    """Of the encoder, whose features it gives side by side; empty: the last one's."""
    sha256: str
    """Of encoder.safetensors."""
    checkpoint: str
    """Digest of the checkpoint that the weights come from."""
    shards: str
    """Digest of the data it was pre-trained on."""
    examples: str = ""
    """sha256 of the examples stored beside the weights; empty: there are none."""

    def codec_config(self) -> NamedConfig:
        """
        Raises:
            UserError: this Selfray does not know the codec.
        """
        return config_in("ssl_core.codecs", self.codec or {"name": "image", "max_pixels": self.max_pixels})

    @field_validator("encoder")
    @classmethod
    def _names_no_file(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """Tensors come from encoder.safetensors alone: a path in somebody's config.json is never opened."""
        return {**tree, "weights": None} if "weights" in tree else tree


def _is_plain_image(codec: NamedConfig) -> bool:
    """Whether `max_pixels` says all of it, as cards of before had it."""
    return codec.name == "image" and chosen(codec).keys() <= {"name", "max_pixels"}


def card_of(
    *,
    name: str,
    encoder: dict[str, Any],
    view: dict[str, Any],
    codec: NamedConfig,
    checkpoint: str,
    shards: str,
    layers: tuple[int, ...] = (),
) -> Card:
    """The card of an encoder that is about to be packed; its shapes come from building it without memory.

    The file that its weights began from is left out: the packed weights take its place.

    Raises:
        UserError: this Selfray cannot build it.
    """
    config, eval_view = untrained(config_in("ssl_core.encoders", encoder)), config_in("ssl_core.augment", view)
    with torch.device("meta"):  # only its shapes are asked for
        built = at_layers(build_encoder(config, {"eval": eval_view}), layers)
    return Card(
        name=name,
        encoder=config.model_dump(mode="json"),
        view=eval_view.model_dump(mode="json"),
        view_shape=built.view_shape,
        embed_dim=built.embed_dim,
        max_pixels=getattr(codec, "max_pixels", None),
        layers=layers,
        codec={} if _is_plain_image(codec) else codec.model_dump(mode="json"),
        sha256="",
        checkpoint=checkpoint,
        shards=shards,
    )


def files_of(card: Card) -> tuple[str, ...]:
    """Names of the files that a packed encoder consists of."""
    return (CARD, WEIGHTS, *((TOKENIZER,) if (card.view.get("tokenizer") or {}).get("file") else ()))


def write_card(folder: Path, card: Card) -> Card:
    (folder / CARD).write_text(card.model_dump_json(indent=2))
    return card


def read_card(folder: Path) -> Card:
    """Read config.json.

    Raises:
        UserError: it is missing, damaged, of another format, or not the one that was exported.
    """
    path = folder / CARD
    try:
        data = path.read_bytes()
        _must_be_exported(path, data)
        tree = json.loads(data)
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise UserError(f"{path}: not a model of format {FORMAT}; load it with the Selfray that made it")
        return Card.model_validate(tree)
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no {CARD}; give the folder of a registered model") from None
    except ValidationError as error:
        raise UserError(f"{path}: {error.errors(include_url=False)[0]['msg']}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def _must_be_exported(path: Path, data: bytes) -> None:
    """Compare with the record that `export` has left beside it, if there is one and it says so."""
    record = path.with_name(EXPORTED)
    tree = json.loads(record.read_bytes()) if record.exists() else {}
    wanted = tree.get("config_sha256", "") if isinstance(tree, dict) else ""
    if wanted and hashlib.sha256(data).hexdigest() != wanted:
        raise UserError(f"{path}: not the one that was exported, {record.name} says; export again")


def view_of(folder: Path) -> NamedConfig:
    """The config of the chain of a packed model; files that it reads are those in the folder."""
    config = view_in(read_card(folder))
    tokenizer: Any = getattr(config, "tokenizer", None)
    if getattr(tokenizer, "file", None) is None:
        return config
    beside = tokenizer.model_copy(update={"file": folder.absolute() / TOKENIZER})  # wherever the card says it is
    return config.model_copy(update={"tokenizer": beside})


def view_in(card: Card) -> NamedConfig:
    return config_in("ssl_core.augment", card.view)


def config_in(package: str, tree: dict[str, Any]) -> NamedConfig:
    try:
        config: NamedConfig = find(package, str(tree.get("name"))).Config.model_validate(tree)
        return config
    except ValueError as error:  # pydantic's ValidationError is one
        raise UserError(f"{CARD}: this Selfray cannot build it: {' '.join(str(error).split())[:300]}") from None
