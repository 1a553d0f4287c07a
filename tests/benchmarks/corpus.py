"""Data made on the spot: image files in a folder, and the shards that our own ingest makes of them."""

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from pipelines.config import codecs
from pipelines.config.parse import load, parse
from pipelines.config.run import RunConfig
from pipelines.data import ingest
from pipelines.data.parts import Job
from pipelines.data.shards import writing
from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.shards.writing import Rules
from pipelines.stage import Nothing
from tests.support.pictures import picture

DATA: Path | None = None
"""Folder of the real data set of a benchmark (`--data`)."""
"""Where train.parquet and test.parquet lie, unless `--data` says where."""
DISTINCT = 256
"""Different pictures in a folder; more files repeat them, since drawing one takes as long as decoding it ten times."""


def jpeg(height: int, width: int, seed: int) -> bytes:
    """A picture as a camera or the web would store it: quality 95."""
    file = BytesIO()
    Pillow.fromarray(picture(height, width, seed)).save(file, "JPEG", quality=95)
    return file.getvalue()


def png(height: int, width: int, seed: int) -> bytes:
    file = BytesIO()
    Pillow.fromarray(picture(height, width, seed)).save(file, "PNG")
    return file.getvalue()


def image_files(folder: Path, count: int, height: int, width: int) -> list[Path]:
    """`count` files: PNG where the side is at most 64 pixels, else JPEG."""
    small = max(height, width) <= 64
    distinct = [(png if small else jpeg)(height, width, seed) for seed in range(min(count, DISTINCT))]
    folder.mkdir(parents=True)
    paths = [folder / f"{i:06d}.{'png' if small else 'jpg'}" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(distinct[i % len(distinct)])
    return paths


def data(name: str) -> Path:
    """Folder of a real data set; without `--data` it lies beside the repository, where there is one."""
    return DATA or Path(__file__).parents[3] / "shared" / "data" / name


def cifar10_files() -> dict[str, str]:
    """The files of CIFAR-10, as dotted keys of a recipe."""
    folder = data("cifar10")
    if missing := [path for name in ("train", "test") if not (path := folder / f"{name}.parquet").exists()]:
        raise SystemExit(f"{missing[0]} is not there: give the folder of CIFAR-10 as Parquet, --data DIR")
    return {"source.path": str(folder / "train.parquet"), "source.test_path": str(folder / "test.parquet")}


def cifar10(changes: dict[str, Any]) -> RunConfig:
    """The recipe cifar10_simclr on the files of CIFAR-10."""
    return load("cifar10_simclr", cifar10_files() | changes)


def simclr(files: Path, storage: Path, size: int, batch: int, changes: dict[str, Any] | None = None) -> RunConfig:
    """SimCLR with a ResNet-18 on a folder of images, the full augmentation, nothing held out."""
    tree = {
        "name": "bench",
        "storage": str(storage),
        "source": {"name": "image_folder", "path": str(files)},
        "ingest": {"test_fraction": 0},
        "views": {"global": {"name": "image_crop_jitter", "size": size}, "eval": {"name": "image_eval", "size": size}},
        "encoder": {"name": "resnet", "depth": 18, "width": 16},
        "method": {"name": "simclr"},
        "train": {"steps": 1_000_000, "global_batch_size": batch, "log_every": 1, "monitor_samples": 0},
    }
    return parse(tree, changes)


def ingested(config: RunConfig, folder: Path) -> ShardSet:
    """What the ingest stage makes of `config.source`; the parts are written here, so that no Ray is needed."""
    source = ingest.source_of(config)
    rules = Rules(codecs.of_source(config), config.ingest.test_fraction, config.ingest.row_group_kb << 10)
    first_id = 0
    for index, part in enumerate(source.parts(config.ingest.shard_mb)):
        writing.write(source, Job(index, first_id, part), rules, folder.resolve())
        first_id += part.count
    return ingest.run(config, Nothing(), folder)  # finds every part done
