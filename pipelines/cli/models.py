"""export, embed, search, generate: what a registered version is good for."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.cli.base import Verb, Verbs
from pipelines.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.model.embedder import Embedder
    from ssl_core.config import NamedConfig

EMBEDDING = ("input", "column", "output", "tracking_uri", "num_actors", "batch_size", "shard_mb")
"""Options of `add_embedding`, by their name in Python."""
FORMATS = ("safetensors", "pt2", "onnx", "torchvision", "timm", "transformers")


def add(verbs: Verbs) -> None:
    export = _for_version(verbs, "export", "a version in another format, checked", _export)
    export.add_argument("--format", default="safetensors", help=", ".join(FORMATS))
    export.add_argument("--input", type=Path, help="samples of yours to compare on too: as of `embed`; the first 64")
    export.add_argument("--column", "--image", default="", metavar="COLUMN", help="of Parquet: the samples")
    export.add_argument("--attach", action="store_true", help="upload it to the version's run, say so on the version")
    _places(export)
    embed = _for_version(verbs, "embed", "a folder of samples or Parquet files to embeddings in Parquet", _embed)
    embed.add_argument("--ray-address", default="local", help="of a running cluster; by default a Ray of our own")
    add_embedding(embed)
    search = _for_version(verbs, "search", "the samples of an embedded folder that are nearest to yours", _search)
    search.add_argument("--in", dest="embeddings", type=Path, required=True, metavar="DIR", help="what embed wrote")
    search.add_argument("--query", required=True, help="a file or folder of samples; for text, the text itself")
    search.add_argument("--column", default="", help="of Parquet: the samples")
    search.add_argument("-k", type=_positive, default=10, help="hits of each query")
    search.add_argument("--json", action="store_true", help="one line of JSON per hit")
    search.add_argument("--tracking-uri", help="MLflow server or sqlite:///PATH; by default MLFLOW_TRACKING_URI")
    write = _for_version(verbs, "generate", "text that follows yours, from a causal language model", _generate)
    write.add_argument("--prompt", required=True, help="the beginning; may be empty")
    write.add_argument("--length", type=_positive, default=100, help="new tokens at most")
    write.add_argument("--temperature", type=float, default=1.0, help="0: always the most likely token")
    write.add_argument("--top-k", type=_positive, help="only so many of the most likely tokens")
    write.add_argument("--top-p", type=float, default=1.0, help="only the likeliest that sum to this probability")
    write.add_argument("--seed", type=int, default=0, help="the same seed writes the same text")
    write.add_argument("--tracking-uri", help="MLflow server or sqlite:///PATH; by default MLFLOW_TRACKING_URI")


def add_embedding(parser: argparse._ActionsContainer, *, required: bool = True) -> None:
    """Options of `embed` that are the same for a job of a cluster: EMBEDDING."""
    _places(parser, required=required)
    kinds = (
        "folder of files, .csv, .jsonl, .parquet (file, folder, pattern), or a recipe (.yaml): what its source reads"
    )
    parser.add_argument("--input", type=Path, required=required, help=kinds)
    parser.add_argument("--column", "--image", default="", metavar="COLUMN", help="of Parquet: the samples")
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
    from pipelines.model.export import export, has_real_samples, may_write
    from pipelines.tracking.display import say

    may_write(options.format, options.output)  # before anything is downloaded
    with TemporaryDirectory(prefix="selfray-") as folder:
        packed, version = versions.opened(options.version, options.tracking_uri, Path(folder))
        if options.attach and not options.input and not has_real_samples(packed):
            drawn = f"the pictures stored with {options.version} are drawn ones, not data"
            raise UserError(f"--attach: {drawn}; compare on real ones first: --input FOLDER")
        own = _own(packed, options.input, options.column) if options.input else None
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
    with TemporaryDirectory(prefix="selfray-") as folder:
        packed, version = versions.opened(options.version, options.tracking_uri, Path(folder))
        model = version.uri if version else str(packed)
        try:
            source = _source(packed, given, options.column)
            made = embed.run(packed, model, source, output, settings)
        except UserError as error:
            raise UserError(_by_flag(error)) from None
        finally:
            session.close()
    say(f"embedded:  {made.num_embedded:,} samples, {made.num_quarantined:,} quarantined, {model}: {output}")
    return 0


def _search(options: argparse.Namespace) -> int:
    import json

    from pipelines.model import search, versions
    from pipelines.model.embedder import Embedder
    from pipelines.tracking.display import say

    folder = options.embeddings.expanduser()
    with TemporaryDirectory(prefix="selfray-") as place:
        packed, _ = versions.opened(options.version, options.tracking_uri, Path(place))
        made, embedder = search.opened(folder, packed), Embedder(packed)
        names, queries = _queries(packed, embedder, options)
    for name, hits in zip(names, search.nearest(folder, made, queries, options.k), strict=True):
        if len(names) > 1 and not options.json:
            say(name)
        for hit in hits:
            found = {"similarity": round(hit.similarity, 6), "sample_id": hit.sample_id, "path": hit.path}
            say(json.dumps({"query": name, **found}) if options.json else f"{hit.similarity:6.3f}  {hit.path}")
    return 0


def _generate(options: argparse.Namespace) -> int:
    from pipelines.config.parse import parse_as
    from pipelines.model import versions
    from pipelines.model.generate import text_from
    from pipelines.storage.printable import printable_lines
    from ssl_core.generate import Sampling

    names = ("length", "temperature", "top_p", "seed")
    chosen = parse_as(Sampling, {**{name: getattr(options, name) for name in names}, "top_k": options.top_k or 0})
    with TemporaryDirectory(prefix="selfray-") as place:
        packed, _ = versions.opened(options.version, options.tracking_uri, Path(place))
        for piece in text_from(packed, options.prompt, chosen):
            print(printable_lines(piece), end="", flush=True)
    print()
    return 0


def _queries(
    packed: Path, embedder: "Embedder", options: argparse.Namespace
) -> tuple[list[str], "NDArray[np.float32]"]:
    """What is asked for, and its embeddings [Q, D]: a text, one encoded sample, or the first samples of an input."""
    from pipelines.data.by_path import TEXT_TABLES
    from ssl_core.codecs.base import DecodeError

    path = Path(options.query).expanduser()
    if not path.exists() and embedder.card.codec_config().name == "text":
        return [options.query], embedder.embed_files([options.query.encode()])
    try:
        if path.is_file() and path.suffix.lower() not in (*TEXT_TABLES, ".parquet", ".yaml", ".yml"):
            return [path.name], embedder.embed_files([path.read_bytes()])
        found = embedder.embed(_own(packed, path, options.column))
    except DecodeError as error:
        raise UserError(f"--query: {path}: {error}") from None
    except UserError as error:
        raise UserError(str(error).replace("--input", "--query")) from None
    return [f"query {number}" for number in range(len(found))], found


def _own(packed: Path, given: Path, column: str) -> "NDArray[Any]":
    """The first samples of an input as views, read as ingest does."""
    from pipelines.model import embedding_parts
    from pipelines.model.card_file import read_card, view_of
    from pipelines.model.export import COMPARED
    from ssl_core.catalog import find

    config = _source(packed, given.expanduser().absolute(), column)
    try:
        source = find("pipelines.data.sources", config.name)(config)
        return embedding_parts.some_views(source, view_of(packed), read_card(packed).codec_config(), COMPARED)
    except UserError as error:
        raise UserError(_by_flag(error)) from None


def _by_flag(error: UserError) -> str:
    """What a recipe calls `source.path` is a flag here."""
    said = str(error).replace("source.path", "--input")
    return (
        said.replace("source.image", "--column").replace("source.series", "--column").replace("source.text", "--column")
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of at least 1")
    return int(text)


def _source(packed: Path, path: Path, column: str) -> "NamedConfig":
    """The source that reads this input as samples of the model's kind."""
    from pipelines.config.parse import parse_as
    from pipelines.config.run import SourceConfig
    from pipelines.data.by_path import source_of
    from pipelines.model.card_file import read_card

    try:
        tree = source_of(path, read_card(packed).codec_config().name, column, labels=False)
    except UserError as error:
        raise UserError(f"--input: {error}") from None
    return parse_as(SourceConfig, {"source": tree}).source
