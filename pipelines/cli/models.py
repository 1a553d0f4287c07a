"""export, embed: what a registered version is good for."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipelines.cli.base import Verb, Verbs
from pipelines.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ssl_core.config import NamedConfig

EMBEDDING = ("input", "image", "output", "tracking_uri", "num_actors", "batch_size", "shard_mb")
"""Options of `add_embedding`, by their name in Python."""
FORMATS = ("safetensors", "pt2", "onnx")


def add(verbs: Verbs) -> None:
    export = _for_version(verbs, "export", "a version as safetensors, torch.export (pt2) or ONNX, checked", _export)
    export.add_argument("--format", default="safetensors", help=", ".join(FORMATS))
    export.add_argument("--input", type=Path, help="pictures of yours to compare on too: as of `embed`; the first 64")
    export.add_argument("--image", default="image", metavar="COLUMN", help="of Parquet: bytes, paths or both")
    export.add_argument("--attach", action="store_true", help="upload it to the version's run, say so on the version")
    _places(export)
    embed = _for_version(verbs, "embed", "a folder of images or Parquet files to embeddings in Parquet", _embed)
    embed.add_argument("--ray-address", default="local", help="of a running cluster; by default a Ray of our own")
    add_embedding(embed)


def add_embedding(parser: argparse._ActionsContainer, *, required: bool = True) -> None:
    """Options of `embed` that are the same for a job of a cluster: EMBEDDING."""
    _places(parser, required=required)
    images = "folder of images, .parquet (file, folder, pattern)"
    parser.add_argument("--input", type=Path, required=required, help=images)
    parser.add_argument("--image", default="image", metavar="COLUMN", help="of Parquet: bytes, paths or both")
    parser.add_argument("--num-actors", type=_positive, default=1, help="encoders at work at the same time")
    parser.add_argument("--batch-size", type=_positive, default=64)
    parser.add_argument("--shard-mb", type=_positive, default=64, help="input per part, the unit that a kill may cost")


def _for_version(verbs: Verbs, name: str, text: str, verb: Verb) -> argparse.ArgumentParser:
    parser = verbs.add(name, text, verb)
    parser.add_argument("version", help="NAME, NAME@alias or NAME/VERSION (by default @candidate), or a model's folder")
    return parser


def _places(parser: argparse._ActionsContainer, *, required: bool = True) -> None:
    parser.add_argument("--output", type=Path, required=required, metavar="DIR")
    parser.add_argument("--tracking-uri", help="MLflow server or sqlite:///PATH; by default MLFLOW_TRACKING_URI")


def _export(options: argparse.Namespace) -> int:
    from pipelines.model import versions
    from pipelines.model.export import export, has_real_pictures, may_write
    from pipelines.tracking.display import say

    may_write(options.format, options.output)  # before anything is downloaded
    with TemporaryDirectory(prefix="selfray-") as folder:
        packed, version = versions.opened(options.version, options.tracking_uri, Path(folder))
        if options.attach and not options.input and not has_real_pictures(packed):
            drawn = f"the pictures stored with {options.version} are drawn ones, not data"
            raise UserError(f"--attach: {drawn}; compare on real ones first: --input FOLDER")
        own = _own(packed, options.input, options.image) if options.input else None
        made = export(packed, options.format, options.output, own)
    path = options.output / made.file
    say(f"exported:  {path} ({made.num_bytes / 1e6:.1f} MB, sha256 {made.sha256[:12]}...)")
    on = f"{made.num_examples} pictures stored with it" + (f" and {made.num_own} of yours" if made.num_own else "")
    said = f"differs by {made.max_difference:.1e} of a length (allowed: {made.tolerance:g}) at batch sizes 1 and 5"
    said += f", on {on}"
    say(f"checked:   {said}")
    if options.attach:
        if version is None:
            raise UserError(f"--attach: {options.version} is a folder; give a version of the registry")
        files = [options.output / name for name in (made.file, f"{made.file}.json", *made.beside)]
        place = versions.attach(version, options.tracking_uri, files, made.format, f"sha256 {made.sha256}; {said}")
        say(f"attached:  run {version.run_id}, {place}")
    return 0


def _embed(options: argparse.Namespace) -> int:
    given, output = options.input.expanduser().absolute(), options.output.expanduser().absolute()
    if given.is_dir() and output.resolve().is_relative_to(given.resolve()):
        raise UserError(f"--output: {output} lies inside --input, all files of which are read; give one outside of it")

    from pipelines.model import embed, versions
    from pipelines.runtime import session
    from pipelines.tracking.display import say

    settings = embed.Options.model_validate(
        {
            "num_actors": options.num_actors,
            "batch_size": options.batch_size,
            "shard_mb": options.shard_mb,
            "ray": {"address": options.ray_address},
        }
    )
    source = _source(given, options.image)
    with TemporaryDirectory(prefix="selfray-") as folder:
        packed, version = versions.opened(options.version, options.tracking_uri, Path(folder))
        model = version.uri if version else str(packed)
        try:
            made = embed.run(packed, model, source, output, settings)
        except UserError as error:
            raise UserError(_by_flag(error)) from None
        finally:
            session.close()
    say(f"embedded:  {made.num_embedded:,} samples, {made.num_quarantined:,} quarantined, {model}: {output}")
    return 0


def _own(packed: Path, given: Path, image: str) -> "NDArray[np.uint8]":
    """The first pictures of an input as views, read as ingest does."""
    from pipelines.model import embedding_parts
    from pipelines.model.export import COMPARED
    from pipelines.model.loader import read_card
    from ssl_core.catalog import find

    card, config = read_card(packed), _source(given.expanduser().absolute(), image)
    view = find("ssl_core.augment", card.view["name"]).Config.model_validate(card.view)
    try:
        source = find("pipelines.data.sources", config.name)(config)
        return embedding_parts.some_views(source, view, card.max_pixels, COMPARED)
    except UserError as error:
        raise UserError(_by_flag(error)) from None


def _by_flag(error: UserError) -> str:
    """What a recipe calls `source.path` is a flag here."""
    return str(error).replace("source.path", "--input").replace("source.image", "--image")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of at least 1")
    return int(text)


def _source(path: Path, image: str) -> "NamedConfig":
    """The source that reads this input."""
    from ssl_core.catalog import find

    is_table = path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet")))
    name, more = ("parquet", {"image": image}) if is_table else ("image_folder", {"labels": "none"})
    source: NamedConfig = find("pipelines.data.sources", name).Config(path=path, **more)
    return source
