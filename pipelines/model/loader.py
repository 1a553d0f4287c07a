"""A packed encoder: `encoder.safetensors` beside `config.json`; read without running code from the artifact."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import PositiveInt, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from pipelines.config.chosen import chosen
from pipelines.errors import UserError
from pipelines.storage import checkpoint
from pipelines.storage.checksum import sha256_of
from ssl_core.augment.base import Augmentation
from ssl_core.build import build_chain, build_encoder, untrained, without_memory
from ssl_core.catalog import find
from ssl_core.config import Config, NamedConfig
from ssl_core.encoders._at_layers import at_layers
from ssl_core.encoders.base import Encoder

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
        return _config("ssl_core.codecs", self.codec or {"name": "image", "max_pixels": self.max_pixels})

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
    config, eval_view = untrained(_config("ssl_core.encoders", encoder)), _config("ssl_core.augment", view)
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


def pack(folder: Path, weights: dict[str, Tensor], card: Card) -> Card:
    """Write both files into `folder`; returns the card with the sha256 of the weights filled in."""
    folder.mkdir(parents=True, exist_ok=True)
    card = _with_tokenizer(folder, card)
    save_file(weights, folder / WEIGHTS)
    return write_card(folder, card.model_copy(update={"sha256": sha256_of(folder / WEIGHTS)}))


def _with_tokenizer(folder: Path, card: Card) -> Card:
    """The card, with a copy of the file that its tokenizer is read from in `folder`.

    Raises:
        UserError: that file is gone, or another one.
    """
    given = card.view.get("tokenizer") or {}
    if not given.get("file"):
        return card
    try:
        data = Path(given["file"]).read_bytes()
    except OSError as error:
        raise UserError(f"tokenizer.file: {given['file']}: cannot be read ({error.strerror})") from None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != (given.get("sha256") or sha256):
        raise UserError(f"tokenizer.file: {given['file']}: its sha256 is {sha256[:12]}..., not the one trained with")
    (folder / TOKENIZER).write_bytes(data)
    return card.model_copy(update={"view": {**card.view, "tokenizer": {**given, "file": TOKENIZER, "sha256": sha256}}})


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
    with _here(source, tracking_uri) as folder:
        return _load(folder)


def _load(folder: Path) -> Encoder:
    card = read_card(folder)
    weights = packed_weights(folder)
    config = _config("ssl_core.encoders", card.encoder)
    _must_fit(folder, card, config, weights)
    with torch.random.fork_rng(devices=[]):  # the caller's generator is not ours to move
        encoder = build_encoder(config, {"eval": _view(card)})
    encoder.load_state_dict(weights)
    return at_layers(encoder.eval(), card.layers)


def _must_fit(folder: Path, card: Card, config: NamedConfig, weights: dict[str, Tensor]) -> None:
    """Compare names and shapes before memory is taken for a network of any size that a card may name."""
    try:
        built = without_memory(config, {"eval": _view(card)})
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{folder / CARD}: this Selfray cannot build it: {str(error).splitlines()[0]}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wanted != found:
        name = min(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        shapes = f"{name} is {found.get(name, 'missing')} there, {wanted.get(name, 'unknown')} here"
        raise UserError(f"{folder / WEIGHTS}: does not fit the encoder in {CARD}: {shapes}")
    try:
        embed_dim = at_layers(built, card.layers).embed_dim
    except ValueError as error:
        raise UserError(f"{folder / CARD}: this Selfray cannot build it: {error}") from None
    if (built.view_shape, embed_dim) != (card.view_shape, card.embed_dim):
        raise UserError(
            f"{folder / CARD}: its encoder maps {built.view_shape} to {embed_dim}, "
            f"not {card.view_shape} to {card.embed_dim} as it says"
        )


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
    """The chain that prepares decoded samples for the encoder of the same model."""
    with _here(source, tracking_uri) as folder:
        config = view_of(folder)
        try:
            chain = build_chain(config)
            getattr(chain, "tokenizer", None)  # read now: what is downloaded is removed again
        except ValueError as error:
            raise UserError(f"{folder / CARD}: {error}") from None
        return chain


@contextmanager
def _here(source: str | Path, tracking_uri: str | None) -> Iterator[Path]:
    """The local folder with the two files; what a URI names is downloaded, and removed at the end.

    Raises:
        UserError: it cannot be had, or is not what the registry says was registered.
    """
    if not (isinstance(source, str) and ":/" in source):
        yield locate(source)
        return
    from pipelines.model import versions  # the only part of loading that needs MLflow

    with TemporaryDirectory(prefix="selfray-") as folder:
        yield versions.of_uri(source, tracking_uri, Path(folder))


def locate(source: str | Path) -> Path:
    """The folder with the two files, in a plain folder or in one as MLflow keeps it."""
    folder = Path(source)
    return folder / "artifacts" if (folder / "artifacts" / CARD).exists() else folder


def view_of(folder: Path) -> NamedConfig:
    """The config of the chain of a packed model; files that it reads are those in the folder."""
    config = _view(read_card(folder))
    tokenizer: Any = getattr(config, "tokenizer", None)
    if getattr(tokenizer, "file", None) is None:
        return config
    beside = tokenizer.model_copy(update={"file": folder.absolute() / TOKENIZER})  # wherever the card says it is
    return config.model_copy(update={"tokenizer": beside})


def _view(card: Card) -> NamedConfig:
    return _config("ssl_core.augment", card.view)


def _config(package: str, tree: dict[str, Any]) -> NamedConfig:
    try:
        config: NamedConfig = find(package, str(tree.get("name"))).Config.model_validate(tree)
        return config
    except ValueError as error:  # pydantic's ValidationError is one
        raise UserError(f"{CARD}: this Selfray cannot build it: {' '.join(str(error).split())[:300]}") from None
