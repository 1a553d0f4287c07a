"""Stored images to training batches of two views, end to end: `python -m tests.benchmarks stream`.

Images per second of wall time on all cores, from asking for batches to the last normalized one in this process.
Selfray streams shards through Ray Data as a training worker does, start of the execution included; the DataLoaders
have two workers that live on. "its shards" does the same work on the same shards without Ray; "its files" opens one
file per image.
"""

import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.config.run import RunConfig
from pipelines.data.batches.stream import training_batches
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.runtime import session
from ssl_core.build import build_chain
from tests.benchmarks.corpus import image_files, ingested, simclr
from tests.benchmarks.loaders import FromShards, InBatches, Pair, PerImage, loader, rebatched
from tests.benchmarks.runner import WALL, Contender, Outcome, Row, Work, goal, race

OURS, TORCHVISION = "selfray, Ray Data", "DataLoader + torchvision v2"
SAME_SHARDS, SAME_FILES = "DataLoader + our augmentation, its shards", "DataLoader + our augmentation, its files"


class Case(NamedTuple):
    size: int
    """Of a view."""
    height: int
    width: int
    files: int
    batch: int
    images: int
    """Of one round, and of torchvision's."""
    images_per_image: int
    tensors: bool
    """torchvision's faster input at this size: tensors, else PIL (benchmark `augment`)."""


CASES = [Case(32, 32, 32, 16_384, 256, 131_072, 2048, False), Case(224, 375, 500, 512, 64, 7680, 128, True)]
TINY = [Case(32, 32, 32, 512, 64, 512, 128, False), Case(224, 375, 500, 48, 16, 48, 16, True)]
ROUNDS = 3
WARM_UP = 4
"""Batches."""


def run(quick: bool = False) -> Outcome:
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    torch.set_num_threads(1)  # of this process: the cores are for the data
    rows: list[Row] = []
    goals: list[Row] = []
    for case in TINY if quick else CASES:
        with TemporaryDirectory() as name:
            folder = Path(name)
            files = image_files(folder / "files", case.files, case.height, case.width)
            config = simclr(folder / "files", folder, case.size, case.batch, {"data.cpus": 2})
            shards = ingested(config, folder / "shards")
            session.connect(config)
            session.data_context(config.data.cpus)
            raced = race(contenders(case, files, config, shards, folder / "stage"), 1 if quick else ROUNDS, WALL)
        columns = {"x torchvision": (TORCHVISION,), "x the better of our augmentation": (SAME_SHARDS, SAME_FILES)}
        rows += raced.rows(f"{case.size} px from {case.width}x{case.height}", "images per second", columns)
        goals += [
            goal(
                f"stream, {case.size} px: times a DataLoader with torchvision v2 on an image folder",
                raced.ratio(OURS, (TORCHVISION,)),
                at_least=10,
            ),
            goal(
                f"stream, {case.size} px: rate over the better DataLoader's with our augmentation",
                raced.ratio(OURS, (SAME_SHARDS, SAME_FILES)),
                at_least=0.9,
                why="a block reads its row groups whole, which out of a wide shuffle window is more than its samples",
            ),
        ]
    session.close()
    return Outcome({"Read, decode, augment twice, transfer, normalize; two data processes each": rows}, goals)


def contenders(case: Case, files: list[Path], config: RunConfig, shards: ShardSet, stage: Path) -> list[Contender]:
    paths = [shards.folder / file.path for file in manifest.load(shards.folder).train]
    per_image = loader(PerImage(files, case.size, case.images_per_image, case.tensors), case.batch)
    in_batches = loader(InBatches(files, case.size, case.images), case.batch)
    row_groups = loader(FromShards(paths, case.size, case.images), None)
    chain = build_chain(config.views["global"])
    return [
        Contender(TORCHVISION, _drained(lambda _: per_image, lambda view: view)),  # it normalizes in its workers
        Contender(SAME_FILES, _drained(lambda _: in_batches, chain.finish)),
        Contender(SAME_SHARDS, _drained(lambda _: rebatched(row_groups, case.batch), chain.finish)),
        Contender(OURS, _drained(_ours(config, shards, stage, case.images // case.batch), chain.finish)),
    ]


def _ours(config: RunConfig, shards: ShardSet, stage: Path, steps: int) -> Callable[[int], Iterable[Pair]]:
    stage.mkdir()
    listing = manifest.load(shards.folder)

    def batches(number: int) -> Iterable[Pair]:
        start, stop = (number * steps, (number + 1) * steps) if number >= 0 else (0, WARM_UP)
        for arrays in training_batches(config, shards.folder, listing, 0, 1, start, stop, stage):
            yield torch.from_numpy(arrays["view0"]), torch.from_numpy(arrays["view1"])

    return batches


def _drained(open_batches: Callable[[int], Iterable[Pair]], finish: Callable[[Tensor], Tensor]) -> Work:
    def work(number: int) -> int:
        count = 0
        for views in islice(open_batches(number), WARM_UP if number < 0 else None):
            finished = [finish(view) for view in views]
            count += len(finished[0])
        return count

    return work
