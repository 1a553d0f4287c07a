"""What startup is measured against: the least that trains the same model with a bare TorchTrainer over Ray Data.

`python -m tests.benchmarks.bare_trainer SHARDS SCRATCH` appends lines of name and time to SCRATCH/marks, and ends after
the first step. No config file, tracking, checks, checkpoints or resume; Ray's settings are those of `startup`. The
Parquet reader is Ray's older one: its new default starts 32 actors first, which takes ten seconds on two cores.
"""

import sys
import time
from pathlib import Path
from typing import Any

SIZE, BATCH, WIDTH = 32, 64, 16


def main(shards: Path, scratch: Path) -> None:
    import ray
    import ray.data
    import ray.train
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    mark(scratch, "imports")
    ray.init(
        address="local",
        num_cpus=3,
        object_store_memory=512 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = False
    context.enable_progress_bars = False
    data = ray.data.read_parquet([str(path) for path in sorted(shards.glob("*.parquet"))], columns=["image"])
    TorchTrainer(
        train,
        train_loop_config={"scratch": str(scratch)},
        datasets={"train": data.map_batches(two_views, batch_size=BATCH)},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=str(scratch / "ray")),
    ).fit()


def two_views(batch: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from ssl_core.augment.image_crop_jitter import ImageCropJitter
    from ssl_core.codecs._image.decode import decode

    images = [decode(data, max_pixels=50_000_000) for data in batch["image"]]
    chain, ids = ImageCropJitter(ImageCropJitter.Config(size=SIZE)), np.arange(len(images))
    return {f"view{i}": chain(images, ids, i) for i in range(2)}


def train(given: dict[str, str]) -> None:
    import ray.train
    import torch
    from ray.train.torch import prepare_model

    from ssl_core.encoders.resnet import ResNet
    from ssl_core.methods.simclr import SimCLR
    from ssl_core.spec import IMAGE_AXES, ViewSpec
    from ssl_core.types import Batch, Progress

    scratch = Path(given["scratch"])
    encoder = ResNet(ResNet.Config(width=WIDTH), ViewSpec(IMAGE_AXES, (3, SIZE, SIZE)))
    model = prepare_model(SimCLR(SimCLR.Config(), encoder))
    optimizer = torch.optim.AdamW(model.parameters())
    shard = ray.train.get_dataset_shard("train")
    batches = iter(shard.iter_torch_batches(batch_size=BATCH))
    mark(scratch, "worker")
    arrays = next(batches)
    mark(scratch, "first batch")
    views = tuple(arrays[f"view{i}"].movedim(-1, 1).float() / 255 for i in range(2))  # [B, 3, SIZE, SIZE]
    model(Batch(views, torch.arange(BATCH)), Progress(0, 1)).loss.backward()
    optimizer.step()
    mark(scratch, "first step")


def mark(scratch: Path, name: str) -> None:
    with (scratch / "marks").open("a") as file:
        file.write(f"{name}\t{time.time()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
