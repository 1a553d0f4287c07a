"""Colors in the data tasks or on the training device: `python -m tests.benchmarks placement`.

The same two views with `views.*.where: data` and `where: worker`. A data core crops (and, with `data`, recolors); the
training device normalizes (and, with `worker`, recolors). In training the two work at the same time, so the slower one
decides: with many GPUs per CPU core that is the data core. On CUDA also kornia, eager, on the whole chain.
"""

from collections.abc import Callable
from itertools import count as counting

import numpy as np
import torch
from torch import Tensor

from ssl_core.augment.image_crop_jitter import ImageCropJitter
from ssl_core.codecs._image.resize import Image
from ssl_core.noise import salt
from tests.benchmarks.peers import kornia_view
from tests.benchmarks.runner import CPU, WALL, Contender, Outcome, Race, Row, Work, optional, race
from tests.support.pictures import picture

# view size, stored height and width, images of one batch on a CPU and on a GPU
CASES = [(32, 32, 32, 256, 2048), (224, 375, 500, 32, 256)]
ROUNDS = 7
REPEATS = 8
"""Batches per measurement on a GPU, which is done with one in milliseconds."""
CHAINS = (("fused", "data"), ("fused", "worker"), ("exact", "data"))
KORNIA = "kornia, all of it on the device"


def run(quick: bool = False) -> Outcome:
    torch.set_num_threads(1)
    tables: dict[str, list[Row]] = {}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        rows: list[Row] = []
        for size, height, width, on_cpu, on_gpu in CASES:
            batch = 4 if quick else on_cpu if device == "cpu" else on_gpu
            images = [picture(height, width, seed=i % 64) for i in range(batch)]
            clock = CPU if device == "cpu" else WALL
            raced = race(contenders(size, images, torch.device(device)), 2 if quick else ROUNDS, clock)
            rows += table(raced, f"{size} px from {width}x{height}, batch {batch}")
        name = torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"
        tables[f"Two views per image, images per second; the device is: {name}"] = rows
    return Outcome(tables, [])


def contenders(size: int, images: list[Image], device: torch.device) -> list[Contender]:
    found: list[Contender] = []
    for mode, where in CHAINS:
        config = ImageCropJitter.Config.model_validate({"size": size, "mode": mode, "where": where})
        chain = ImageCropJitter(config)
        found.append(Contender(f"{mode}, {where}: data core", _called(chain, images)))
        found.append(Contender(f"{mode}, {where}: device", _finished(chain, images, device)))
    if device.type == "cuda":
        found.append(optional(KORNIA, lambda: _kornia(size, images, device)))
    return found


def table(raced: Race, case: str) -> list[Row]:
    """One row per chain, with what a data core and what the device gets done."""
    rows: list[Row] = []
    for mode, where in CHAINS:
        data, device = (raced.rate(f"{mode}, {where}: {side}") for side in ("data core", "device"))
        rows.append({"case": case, "chain": f"{mode}, where: {where}", "data core": data, "device": device})
    if KORNIA in raced.rates or KORNIA in raced.absent:
        rate = raced.rate(KORNIA) if KORNIA in raced.rates else raced.absent[KORNIA]
        rows.append({"case": case, "chain": KORNIA, "data core": "-", "device": rate})
    return rows


def _called(chain: ImageCropJitter, images: list[Image]) -> Work:
    ids = np.arange(len(images))

    def work(number: int) -> int:
        for view in range(2):
            chain(images, ids, salt(number, view))
        return len(images)

    return work


def _finished(chain: ImageCropJitter, images: list[Image], device: torch.device) -> Work:
    """From uint8 crops in this process's memory to normalized views on the device."""
    ids = np.arange(len(images))
    crops = torch.from_numpy(chain(images, ids, salt(0)))  # [B, size, size, 3]
    return _repeated(lambda key: chain.finish(crops.to(device), ids, key), len(images), device)


def _kornia(size: int, images: list[Image], device: torch.device) -> Work:
    view = kornia_view(size)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()  # [B, 3, H, W] uint8
    return _repeated(lambda key: view(stacked.to(device).float() / 255), len(images), device)


def _repeated(two: Callable[[int], Tensor], batch: int, device: torch.device) -> Work:
    """Both views of a batch, several times over on a GPU; ends when the device is done."""
    times = REPEATS if device.type == "cuda" else 1
    keys = counting()

    def work(number: int) -> int:
        for _ in range(2 * times):
            two(salt(next(keys)))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return batch * times

    return work
