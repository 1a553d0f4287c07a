"""JPEG to pixels, on one thread: `python -m tests.benchmarks decode`.

CPU time, encoded bytes in memory to [H, W, 3] uint8 RGB in memory, one image after the other. Ours checks every header
first (size, truncation, kind). "from shards" is what a Ray Data task does before it augments: read the row groups,
pick the rows, decode. A reduced picture serves crops that would shrink it anyway.
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image as Pillow

from pipelines.data.batches.stream import some_rows
from pipelines.data.shards import manifest
from ssl_core.codecs._image.decode import decode
from ssl_core.codecs._image.opencv import cv2
from tests.benchmarks.corpus import image_files, ingested, simclr
from tests.benchmarks.runner import CPU, Contender, Outcome, Row, Work, goal, optional, race
from tests.support.data import ROOT

PEERS = ("Pillow", "OpenCV", "torchvision.io", "simplejpeg")
OURS, SHARDS = "selfray decode", "selfray, from shards"
PHOTOS = ROOT / "caltech101_42" / "train.parquet"
ROUNDS = 7
MAX_PIXELS = 50_000_000


def run(quick: bool = False) -> Outcome:
    torch.set_num_threads(1)
    count, rounds = (4, 2) if quick else (128, ROUNDS)
    with TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        made = [path.read_bytes() for path in image_files(files, count, 375, 500)]
        raced = race([*contenders(made), Contender(SHARDS, _from_shards(files, Path(folder)))], rounds, CPU)
    unit, columns = "images per CPU second", {"x the fastest peer": PEERS}
    rows: list[Row] = raced.rows("500x375, quality 95, made here", unit, columns)
    goals = [
        goal("decode, 500x375 JPEG: rate over the fastest decoder's", raced.ratio(OURS, PEERS), at_least=0.9),
        goal(
            "decode, 500x375 JPEG, from shards, batch overhead included: the same",
            raced.ratio(SHARDS, PEERS),
            at_least=0.9,
            why="reading Parquet, checking sizes and copying into the batch come on top of decoding",
        ),
    ]
    case = "photos of Caltech-101"
    if PHOTOS.exists():
        photos = race(contenders(pq.read_table(PHOTOS)["image"].slice(0, count).to_pylist()), rounds, CPU)
        rows += photos.rows(case, unit, columns)
        ratio = photos.ratio(OURS, PEERS)
    else:
        rows.append({"case": case, "contender": "-", unit: f"{PHOTOS} is not there", "x the fastest peer": "-"})
        ratio = None
    goals.append(goal("decode, photos: rate over the fastest decoder's", ratio, at_least=0.9))
    return Outcome({"Whole pictures and, below, reduced ones": rows}, goals)


def contenders(files: list[bytes]) -> list[Contender]:
    return [
        Contender("Pillow", _each(files, _pillow)),
        Contender("OpenCV", _each(files, _opencv)),
        Contender("torchvision.io", _torchvision(files)),
        optional("simplejpeg", lambda: _simplejpeg(files)),
        Contender(OURS, _each(files, partial(decode, max_pixels=MAX_PIXELS))),
        *(
            Contender(f"{OURS}, reduction {r}", _each(files, partial(decode, max_pixels=MAX_PIXELS, reduction=r)))
            for r in (2, 4, 8)
        ),
    ]


def _each(files: list[bytes], decoder: Callable[[bytes], Any]) -> Work:
    def work(number: int) -> int:
        for file in files:
            decoder(file)
        return len(files)

    return work


def _pillow(file: bytes) -> Any:
    return np.asarray(Pillow.open(BytesIO(file)).convert("RGB"))


def _opencv(file: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)


def _torchvision(files: list[bytes]) -> Work:
    from torchvision.io import ImageReadMode, decode_jpeg

    tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]

    def work(number: int) -> int:
        for tensor in tensors:
            decode_jpeg(tensor, ImageReadMode.RGB)
        return len(tensors)

    return work


def _simplejpeg(files: list[bytes]) -> Work:
    import simplejpeg

    def decoder(file: bytes) -> Any:
        return simplejpeg.decode_jpeg(file, "RGB")

    return _each(files, decoder)


def _from_shards(files: Path, folder: Path) -> Work:
    config = simclr(files, folder, size=224, batch=2)
    shards = ingested(config, folder / "shards")
    listing = manifest.load(shards.folder)

    def work(number: int) -> int:
        return len(some_rows(config, shards.folder, listing, "train", shards.num_train, ())["sample_id"])

    return work
