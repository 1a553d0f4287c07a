"""Two SimCLR views per image against torchvision, one thread: `python -m tests.benchmarks.augment [--json FILE]`.

Contenders run in turn in every round and are charged CPU time, so that a busy machine slows all of them alike; quote
the ratios. torchvision works image by image with the same recipe: crop 0.08-1, flip, jitter 0.8/0.8/0.8/0.2, gray,
blur with a kernel of a tenth of the view. Takes about half a minute of one idle core.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torchvision.transforms import v2

from ssl_core.augment._blur import kernel_size
from ssl_core.augment.image_crop_jitter import ImageCropJitter
from ssl_core.noise import salt
from tests.support.pictures import picture

# view size, stored height and width, images per round for ours and for torchvision
CASES = [(32, 32, 32, 512, 48), (224, 375, 500, 64, 12)]
ROUNDS = 7


def torchvision_recipe(size: int) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(kernel_size(size), (0.1, 2.0))], p=0.5),
        ]
    )


def contenders(size: int, height: int, width: int, ours: int, theirs: int) -> dict[str, Callable[[int], int]]:
    """Name -> function that augments one round's images twice and returns how many images those were."""
    images = [picture(height, width, seed=i) for i in range(ours)]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images[:theirs]]
    pillows = [Pillow.fromarray(image) for image in images[:theirs]]
    recipe = torchvision_recipe(size)
    ids = np.arange(ours)

    def chain(mode: str) -> Callable[[int], int]:
        built = ImageCropJitter(ImageCropJitter.Config.model_validate({"size": size, "mode": mode}))

        def work(number: int) -> int:
            for view in range(2):
                built(images, ids, salt(number, view))
            return ours

        return work

    def torchvision(inputs: list[torch.Tensor] | list[Pillow.Image]) -> Callable[[int], int]:
        def work(number: int) -> int:
            torch.manual_seed(number)
            for image in inputs:
                for _ in range(2):
                    view = recipe(image)
                    np.asarray(view)  # ends as pixels in memory, like ours
            return theirs

        return work

    return {
        "torchvision v2, uint8 tensor": torchvision(tensors),
        "torchvision v2, PIL": torchvision(pillows),
        "image_crop_jitter, exact": chain("exact"),
        "image_crop_jitter, fused": chain("fused"),
    }


def measure(case: tuple[int, int, int, int, int]) -> list[dict[str, float | str | int]]:
    rates: dict[str, list[float]] = {}
    work = contenders(*case)
    for number in range(-1, ROUNDS):  # round -1 warms up
        for name, run in work.items():
            begin = time.process_time()
            count = run(number + 1)
            if number >= 0:
                rates.setdefault(name, []).append(count / (time.process_time() - begin))
    rows: list[dict[str, float | str | int]] = []
    for name, rate in rates.items():
        row: dict[str, float | str | int] = {"size": case[0], "source": f"{case[1]}x{case[2]}", "name": name}
        row["images_per_cpu_s"] = statistics.median(rate)
        for peer, label in (("torchvision v2, uint8 tensor", "tensor"), ("torchvision v2, PIL", "pil")):
            ratios = [mine / other for mine, other in zip(rate, rates[peer], strict=True)]
            low, _, high = statistics.quantiles(ratios, n=4)
            row |= {f"x_{label}": statistics.median(ratios), f"x_{label}_low": low, f"x_{label}_high": high}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    target = parser.parse_args().json
    torch.set_num_threads(1)
    rows = [row for case in CASES for row in measure(case)]
    print("| view | stored | two views per image | images per CPU second | x v2 tensor (quartiles) | x v2 PIL |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        ratios = [f"{row[k]:.1f} ({row[k + '_low']:.1f}-{row[k + '_high']:.1f})" for k in ("x_tensor", "x_pil")]
        cells = [row["size"], row["source"], row["name"], f"{row['images_per_cpu_s']:,.0f}", *ratios]
        print("| " + " | ".join(map(str, cells)) + " |")
    print(json.dumps(rows))
    if target:
        target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
