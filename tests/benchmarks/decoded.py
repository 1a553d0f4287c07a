"""Decoding in the second trial of a campaign: `python -m tests.benchmarks decoded`.

CPU time of the data tasks of some blocks of a later epoch, read, decode, augment twice, in this process: each row
decoded anew, or taken from the pixels that the first trial on this node has kept (decoded_cache.py). How
much of a trial that is depends on its training step, which these times leave out.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.config.run import RunConfig
from pipelines.data.batches.decoded_cache import DecodedCache
from pipelines.data.batches.reading import Piece, Views, read_piece
from pipelines.data.batches.stream import training_pieces
from pipelines.data.shards import manifest
from tests.benchmarks.corpus import image_files, ingested, simclr
from tests.benchmarks.runner import CPU, Contender, Outcome, Row, Work, race
from tests.support.data import ROOT

ROUNDS = 5
ANEW, KEPT = "each row decoded anew", "decoded by the first trial"
CIFAR, PHOTOS = ROOT / "cifar10" / "train.parquet", ROOT / "caltech101_42" / "train.parquet"


def run(quick: bool = False) -> Outcome:
    rows: list[Row] = []
    for case, source, size, batch in (
        ("32 px, CIFAR-10", CIFAR, 32, 256),
        ("224 px, photos of Caltech-101", PHOTOS, 224, 16),
        ("224 px, 500x375 made here", None, 224, 16),
    ):
        if source and not source.exists():
            rows.append({"case": case, "contender": "-", "images per CPU second": f"{source} is not there", "x": "-"})
            continue
        with TemporaryDirectory() as name, _temp(Path(name)):
            config = _config(Path(name), source, size, 8 if quick else batch)
            pieces, views = _block(config, Path(name), 1 if quick else 4)
            kept = replace(views, decoded=DecodedCache(name="bench", limit_mb=8192))
            # the warm-up is the first trial: it fills the cache
            raced = race([Contender(ANEW, _read(pieces, views)), Contender(KEPT, _read(pieces, kept))],
                         2 if quick else ROUNDS, CPU)  # fmt: skip
        rows += raced.rows(case, "images per CPU second", {"x": (ANEW,)})
    return Outcome({"Images with two views per CPU second": rows}, [])


def _config(folder: Path, source: Path | None, size: int, batch: int) -> RunConfig:
    changes: dict[str, Any] = {}
    if source:
        changes["source"] = {"name": "parquet", "path": str(source)}
    else:
        image_files(folder / "files", 256, 375, 500)
    return simclr(folder / "files", folder, size, batch, changes)


def _block(config: RunConfig, folder: Path, count: int) -> tuple[list[Piece], Views]:
    shards = ingested(config, folder / "shards")
    pieces, views = training_pieces(config, shards.folder, manifest.load(shards.folder), 1)
    (folder / "stage").mkdir()
    return list(islice(pieces, count)), replace(views, stage=folder / "stage")


def _read(pieces: list[Piece], views: Views) -> Work:
    def work(number: int) -> int:
        return sum(len(read_piece(piece, views)["sample_id"]) for piece in pieces)

    return work


@contextmanager
def _temp(folder: Path) -> Iterator[None]:
    """The cache goes where this benchmark's other files go."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
