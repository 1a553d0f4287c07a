"""A packed encoder: `encoder.safetensors` beside `config.json`; read without running code from the artifact."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from pipelines.errors import UserError
from pipelines.storage import checkpoint
from pipelines.storage.checksum import sha256_of
from ssl_core.augment.base import Augmentation
from ssl_core.build import build_chain, build_encoder, untrained
from ssl_core.catalog import find
from ssl_core.config import Config, NamedConfig
from ssl_core.encoders.base import Encoder

WEIGHTS, CARD = "encoder.safetensors", "config.json"
FORMAT = 1


class Card(Config):
    """config.json: everything needed to build the encoder and to feed it."""

    format: int = FORMAT
    name: str
    encoder: dict[str, Any]
    view: dict[str, Any]
    """The augmentation chain that turns decoded images into what the encoder reads."""
    view_shape: tuple[int, ...]
    embed_dim: PositiveInt
    max_pixels: PositiveInt
    """Larger images are refused before they are decoded."""
    sha256: str
    """Of encoder.safetensors."""
    checkpoint: str
    """Digest of the checkpoint that the weights come from."""
    shards: str
    """Digest of the data it was pre-trained on."""
    examples: str = ""
    """sha256 of the examples stored beside the weights; empty: there are none."""


def card_of(
    *, name: str, encoder: dict[str, Any], view: dict[str, Any], max_pixels: int, checkpoint: str, shards: str
) -> Card:
    """The card of an encoder that is about to be packed; its shapes come from building it without memory.

    The file that its weights began from is left out: the packed weights take its place.

    Raises:
        UserError: this Selfray cannot build it.
    """
    config, eval_view = untrained(_config("ssl_core.encoders", encoder)), _config("ssl_core.augment", view)
    with torch.device("meta"):  # only its shapes are asked for
        built = build_encoder(config, {"eval": eval_view})
    return Card(
        name=name,
        encoder=config.model_dump(mode="json"),
        view=eval_view.model_dump(mode="json"),
        view_shape=built.view_shape,
        embed_dim=built.embed_dim,
        max_pixels=max_pixels,
        sha256="",
        checkpoint=checkpoint,
        shards=shards,
    )


def pack(folder: Path, weights: dict[str, Tensor], card: Card) -> Card:
    """Write both files into `folder`; returns the card with the sha256 of the weights filled in."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    return write_card(folder, card.model_copy(update={"sha256": sha256_of(folder / WEIGHTS)}))


def write_card(folder: Path, card: Card) -> Card:
    (folder / CARD).write_text(card.model_dump_json(indent=2))
    return card


def read_card(folder: Path) -> Card:
    """Read config.json.

    Raises:
        UserError: it is missing, damaged or of another format.
    """
    path = folder / CARD
    try:
        tree = json.loads(path.read_text())
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise UserError(f"{path}: not a model of format {FORMAT}; load it with the Selfray that made it")
        return Card.model_validate(tree)
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no {CARD}; give the folder of a registered model") from None
    except ValidationError as error:
        raise UserError(f"{path}: {error.errors(include_url=False)[0]['msg']}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def load_encoder(source: str | Path, tracking_uri: str | None = None) -> Encoder:
    """A registered encoder as a plain module in eval mode, on the CPU.

    Args:
        source: A folder, or a URI such as `models:/digits-simclr@candidate`.
        tracking_uri: Where a URI is looked up; by default MLflow's own setting.

    Returns: maps [B, *view_shape] float32, as `load_chain` gives it, to Features.

    Raises:
        UserError: the weights are not those that were registered (by the sha256 in the card and, of `models:/NAME/3` or
            `models:/NAME@alias`, in the version's tag), or do not fit the encoder.
    """
    folder = locate(source, tracking_uri)
    card = read_card(folder)
    weights = packed_weights(folder)
    config = _config("ssl_core.encoders", card.encoder)
    with torch.random.fork_rng(devices=[]):  # the caller's generator is not ours to move
        encoder = build_encoder(config, {"eval": _view(card)})
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{folder / WEIGHTS}: does not fit the encoder in {CARD}: {str(error).splitlines()[0]}"
        ) from None
    return encoder.eval()


def packed_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a packed encoder, once they match the sha256 in its card.

    Raises:
        UserError: missing, or not those that were packed.
    """
    path, card = folder / WEIGHTS, read_card(folder)
    _must_be_there(path)
    data = path.read_bytes()  # once: what is checked is what is loaded
    _must_be(path, hashlib.sha256(data).hexdigest(), card)
    try:
        return load(data)
    except SafetensorError as error:
        raise UserError(f"{path}: not safetensors ({error})") from None


def check_weights(folder: Path) -> None:
    """Compare the weights in the folder of a packed model or of a checkpoint with their sha256; none are kept.

    Raises:
        UserError: missing, or not those that were written.
    """
    if not (folder / CARD).exists():
        checkpoint.check(folder)
        return
    path, card = folder / WEIGHTS, read_card(folder)
    _must_be_there(path)
    _must_be(path, sha256_of(path), card)


def _must_be_there(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: missing; download or register the model again")


def _must_be(path: Path, sha256: str, card: Card) -> None:
    if sha256 != card.sha256:
        raise UserError(f"{path}: its sha256 is {sha256[:12]}..., {CARD} says {card.sha256[:12]}...; do not use it")


def encoder_weights(folder: Path) -> dict[str, Tensor]:
    """The encoder's tensors in the folder of a packed model or of a checkpoint, checked against their sha256."""
    return packed_weights(folder) if (folder / CARD).exists() else checkpoint.encoder_weights(folder)


def load_chain(source: str | Path, tracking_uri: str | None = None) -> Augmentation:
    """The chain that prepares decoded images for the encoder of the same model."""
    return build_chain(_view(read_card(locate(source, tracking_uri))))


def locate(source: str | Path, tracking_uri: str | None = None) -> Path:
    """The local folder with the two files; downloads a URI.

    Raises:
        UserError: it cannot be had, or names other weights than the registry does.
    """
    if isinstance(source, str) and ":/" in source:
        from pipelines.model import versions  # the only part of loading that needs MLflow

        return versions.of_uri(source, tracking_uri)
    folder = Path(source)
    return folder / "artifacts" if (folder / "artifacts" / CARD).exists() else folder


def _view(card: Card) -> NamedConfig:
    return _config("ssl_core.augment", card.view)


def _config(package: str, tree: dict[str, Any]) -> NamedConfig:
    try:
        config: NamedConfig = find(package, str(tree.get("name"))).Config.model_validate(tree)
        return config
    except ValueError as error:  # pydantic's ValidationError is one
        raise UserError(f"{CARD}: this Selfray cannot build it: {' '.join(str(error).split())[:300]}") from None
