"""What `selfray evaluate MODEL` may name, all of it brought into one form: a packed encoder on this disk."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from torch import Tensor

from pipelines.config.flat import fingerprint, nested
from pipelines.config.sections import IngestConfig
from pipelines.errors import UserError
from pipelines.model import card_file, loader, versions
from pipelines.model.card_file import CARD, Card
from pipelines.storage import checkpoint, inputs, journal
from pipelines.tracking import display
from ssl_core import catalog

KINDS = "NAME@ALIAS, NAME/VERSION, models:/..., the folder of a checkpoint or of a packed model, or a YAML file"


@dataclass(frozen=True)
class ResolvedModel:
    """A packed encoder and where it comes from."""

    folder: Path
    card: Card
    title: str
    """For names and headings, e.g. `digits-simclr.3`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What links a run that scores it to the model, for MLflow."""


def find(model: str, root: Path, tracking_uri: str) -> ResolvedModel:
    """The encoder that `model` names, anything but a YAML file.

    Args:
        root: the storage; what is not packed yet is packed in `models` below it.
        tracking_uri: where registered models are looked up.
    Raises:
        UserError: there is no such model, or its files are not what was registered.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _in_folder(path.absolute(), root)
    if path.exists():
        raise UserError(f"{model}: is a file; give {KINDS}")
    with TemporaryDirectory(prefix="selfray-") as folder:
        if versions.says_which(model):
            version = versions.find(model, tracking_uri)
            packed, title = versions.fetch(version, tracking_uri, Path(folder)), f"{version.name}.{version.number}"
            tags = {"selfray.model": version.name, "selfray.model_version": str(version.number)}
            tags["selfray.model_run"] = version.run_id
        elif ":/" in model:
            packed, title, tags = versions.downloaded(model, tracking_uri, Path(folder)), "model", {}
        else:
            raise UserError(f"{model}: no such model; give {KINDS}")
        card = card_file.read_card(packed)
        return ResolvedModel(_copied(packed, card, root), card, title, {"selfray.sha256": card.sha256, **tags})


def keep(weights: dict[str, Tensor], card: Card, root: Path) -> ResolvedModel:
    """Pack an encoder under `root/models`, named by its content."""
    aside = root / "models" / f".{uuid4().hex}"
    try:
        card = loader.pack(aside, weights, card)
        return ResolvedModel(_settled(aside, card, root), card, card.name, {"selfray.sha256": card.sha256})
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _in_folder(path: Path, root: Path) -> ResolvedModel:
    packed = loader.locate(path)
    if (packed / CARD).exists():
        card = card_file.read_card(packed)
        return ResolvedModel(_copied(packed, card, root), card, card.name, {"selfray.sha256": card.sha256})
    if not (path / checkpoint.STATE).exists():
        latest, _ = checkpoint.latest(path / "checkpoints")
        if latest is None:
            raise UserError(f"{path}: holds neither a packed model ({CARD}) nor a checkpoint ({checkpoint.STATE})")
        path = latest
    return _of_checkpoint(path, root)


def _of_checkpoint(path: Path, root: Path) -> ResolvedModel:
    made_from = inputs.load(path.parent.parent)
    keys = nested(made_from.keys | made_from.beside)
    if not made_from.beside:
        kind = next(iter(sorted(keys["views"])))
        keys["views"]["eval"] = {"name": "image_eval", "size": keys["views"][kind]["size"]}
        keys["ingest"] = {"max_pixels": IngestConfig().max_pixels}
        display.say(
            f"{path}: an older Selfray trained it and did not note views.eval; taken is image_eval of size "
            f"{keys['views']['eval']['size']} with its defaults; for another one evaluate its recipe"
        )
    chain = catalog.find("ssl_core.augment", keys["views"]["eval"]["name"])
    card = card_file.card_of(
        name=made_from.run,
        encoder=keys["encoder"],
        view=keys["views"]["eval"],
        codec=IngestConfig.model_validate(keys["ingest"]).codec(chain.field, chain.codec),
        checkpoint=checkpoint.digest(path),
        shards=str(made_from.given.get("digest", "")),
    )
    found = keep(checkpoint.encoder_weights(path), card, root)
    step = int(checkpoint.state_of(path)["step"])
    return ResolvedModel(
        found.folder, found.card, f"{made_from.run}-step{step}", {**found.tags, "selfray.checkpoint": str(path)}
    )


def _copied(packed: Path, card: Card, root: Path) -> Path:
    """The same under `root`, where all nodes of a cluster see it, once the weights match their sha256."""
    loader.packed_weights(packed)
    aside = root / "models" / f".{uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        for name in card_file.files_of(card):
            shutil.copy(packed / name, aside)
        return _settled(aside, card, root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _settled(aside: Path, card: Card, root: Path) -> Path:
    """The folder under the name of its content; one that is there already stays."""
    final = root / "models" / fingerprint(card.model_dump(mode="json"))[:16]
    if not (final / CARD).exists():
        for path in aside.iterdir():
            journal.flush(path)
        shutil.rmtree(final, ignore_errors=True)
        try:
            aside.replace(final)
        except OSError:
            if not (final / CARD).exists():  # else another evaluation was faster
                raise
    return final
