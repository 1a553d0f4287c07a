"""A packed encoder: `encoder.safetensors` beside `config.json`; read without running code from the artifact."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from pipelines.errors import UserError
from pipelines.model.card_file import CARD, TOKENIZER, WEIGHTS, Card, config_in, read_card, view_in, view_of, write_card
from pipelines.storage import checkpoint
from pipelines.storage.checksum import sha256_of
from ssl_core.augment.base import Augmentation
from ssl_core.build import build_chain, build_encoder, without_memory
from ssl_core.config import NamedConfig
from ssl_core.encoders._at_layers import at_layers
from ssl_core.encoders.base import Encoder


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
    config = config_in("ssl_core.encoders", card.encoder)
    _must_fit(folder, card, config, weights)
    with torch.random.fork_rng(devices=[]):  # the caller's generator is not ours to move
        encoder = build_encoder(config, {"eval": view_in(card)})
    encoder.load_state_dict(weights)
    return at_layers(encoder.eval(), card.layers)


def _must_fit(folder: Path, card: Card, config: NamedConfig, weights: dict[str, Tensor]) -> None:
    """Compare names and shapes before memory is taken for a network of any size that a card may name."""
    try:
        built = without_memory(config, {"eval": view_in(card)})
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
