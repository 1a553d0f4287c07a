"""Train the tokenizers of a run's views on its train texts: a stage between ingest and pre-training."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config.flat import fingerprint
from pipelines.config.run import SetupConfig
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.schema import column_of_samples
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.stage import Artifact, Stage
from pipelines.storage import outbox
from pipelines.storage.atomic import write_text
from pipelines.storage.checksum import sha256_of
from ssl_core.config import NamedConfig
from ssl_core.noise import keyed_uniform, salt

NAME = "tokenizer.json"
_CHOICE = 0x70C


class TrainedTokenizer(Artifact):
    """Its digest is the sha256 of the file."""

    file: Path
    num_texts: int


def with_tokenizers(config: Any, shards: ShardSet, root: Path) -> Any:
    """The run, with the file and the sha256 of the tokenizer in each view of text that needs one."""
    views = {kind: _filled(config, view, shards, root) for kind, view in config.views.items()}
    return config.model_copy(update={"views": views})


def _filled(config: SetupConfig, view: NamedConfig, shards: ShardSet, root: Path) -> NamedConfig:
    tokenizer: Any = getattr(view, "tokenizer", None)
    if not hasattr(tokenizer, "file"):
        return view
    if tokenizer.file is None:
        made = _stage(tokenizer)(config, shards, root)
        known = {"file": made.file, "sha256": made.digest}
    elif not tokenizer.file.is_file():
        raise UserError(f"views: tokenizer.file: {tokenizer.file}: no such file")
    else:
        known = {"file": tokenizer.file.absolute(), "sha256": tokenizer.sha256 or sha256_of(tokenizer.file)}
    return view.model_copy(update={"tokenizer": tokenizer.model_copy(update=known)})


def _stage(tokenizer: NamedConfig) -> Stage[SetupConfig, ShardSet, TrainedTokenizer]:
    """Identified by the texts and the tokenizer's own settings alone, whatever else the views say."""
    settings = fingerprint(tokenizer.model_dump(mode="json", exclude={"file", "sha256"}))
    return Stage(
        "tokenize", 1, reads=(), makes=TrainedTokenizer, run=partial(_run, tokenizer), also=lambda config: settings
    )


def _run(tokenizer: NamedConfig, config: SetupConfig, shards: ShardSet, folder: Path) -> TrainedTokenizer:
    from ssl_core.tokenizers import byte_bpe

    assert isinstance(tokenizer, byte_bpe.ByteBPE.Config)
    listing = manifest.load(shards.folder)
    texts = list(_texts(shards.folder, listing, tokenizer))
    outbox.note(folder, f"{len(texts)} of {listing.num_rows('train')} train texts")
    made = byte_bpe.trained(texts, tokenizer)
    path = folder.absolute() / NAME
    write_text(path, made)
    sha256 = hashlib.sha256(made.encode()).hexdigest()
    byte_bpe.ByteBPE(tokenizer.model_copy(update={"file": path, "sha256": sha256}))  # it can be read again
    return TrainedTokenizer(digest=sha256, file=path, num_texts=len(texts))


def _texts(shards: Path, listing: Manifest, tokenizer: Any) -> Iterator[str]:
    """The kept train texts in the order of the shards; of more than `max_texts`, those that their ids choose.

    Raises:
        UserError: a shard cannot be read.
    """
    share = min(1.0, tokenizer.max_texts / max(1, listing.num_rows("train")))
    for file in listing.train:
        try:
            table = column_of_samples(shards / file.path, "sample_id", "field")
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"tokenize: {shards / file.path}: cannot be read ({error})") from None
        ids = table["sample_id"].to_numpy()
        chosen = np.flatnonzero(keyed_uniform(ids, 1, salt(tokenizer.seed, _CHOICE))[:, 0] < share)
        for data in table["field"].take(pa.array(chosen)).to_pylist():
            yield data.decode()
