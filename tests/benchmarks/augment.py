"""Two SimCLR views per image, on one thread: `python -m tests.benchmarks augment`.

Every contender is charged CPU time and starts from decoded uint8 pixels. torchvision and albumentations work image by
image, kornia on the whole batch; all with the same recipe (tests/benchmarks/peers.py).
"""

import numpy as np
import torch
from PIL import Image as Pillow

from ssl_core.augment.image_crop_jitter import ImageCropJitter
from ssl_core.codecs._image.resize import Image
from ssl_core.noise import salt
from tests.benchmarks.peers import albumentations_view, kornia_view, torchvision_view
from tests.benchmarks.runner import CPU, Contender, Outcome, Row, Work, goal, optional, race
from tests.support.pictures import picture

# view size, stored height and width, images per round, and those for torchvision, which takes long
CASES = [(32, 32, 32, 512, 96), (224, 375, 500, 64, 16)]
ROUNDS = 7
TORCHVISION = ("torchvision v2, uint8 tensor", "torchvision v2, PIL")
LEAST = {32: 10, 224: 35}  # times torchvision, of the exact mode


def run(quick: bool = False) -> Outcome:
    torch.set_num_threads(1)
    rows: list[Row] = []
    goals: list[Row] = []
    for size, height, width, many, few in CASES:
        images = [picture(height, width, seed=i) for i in range(4 if quick else many)]
        raced = race(contenders(size, images, images[: 2 if quick else few]), 2 if quick else ROUNDS, CPU)
        columns = {"x torchvision v2": TORCHVISION, "x albumentations": ("albumentations",), "x kornia": ("kornia",)}
        rows += raced.rows(f"{size} px from {width}x{height}", "images per CPU second", columns)
        goals += [
            goal(
                f"two views, exact, {size} px: times torchvision v2 (its faster input)",
                raced.ratio("image_crop_jitter, exact", TORCHVISION),
                at_least=LEAST[size],
            ),
            goal(
                f"two views, fused, {size} px: times torchvision v2 (its faster input)",
                raced.ratio("image_crop_jitter, fused", TORCHVISION),
                at_least=40,
            ),
            goal(
                f"two views, fused, {size} px: times albumentations",
                raced.ratio("image_crop_jitter, fused", ("albumentations",)),
                at_least=4,
                why="ours antialiases its crops as torchvision does, most of its time there; albumentations does not",
            ),
        ]
    return Outcome({"Two views per image, uint8 in memory to uint8 in memory": rows}, goals)


def contenders(size: int, images: list[Image], few: list[Image]) -> list[Contender]:
    pillows = [Pillow.fromarray(image) for image in few]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in few]
    return [
        Contender(TORCHVISION[0], _torchvision(size, tensors)),
        Contender(TORCHVISION[1], _torchvision(size, pillows)),
        optional("albumentations", lambda: _albumentations(size, images)),
        optional("kornia", lambda: _kornia(size, images)),
        Contender("image_crop_jitter, exact", _ours(size, "exact", images)),
        Contender("image_crop_jitter, fused", _ours(size, "fused", images)),
    ]


def _ours(size: int, mode: str, images: list[Image]) -> Work:
    chain = ImageCropJitter(ImageCropJitter.Config.model_validate({"size": size, "mode": mode}))
    ids = np.arange(len(images))

    def work(number: int) -> int:
        for view in range(2):
            chain(images, ids, salt(number, view))
        return len(images)

    return work


def _torchvision(size: int, images: list[torch.Tensor] | list[Pillow.Image]) -> Work:
    view = torchvision_view(size)

    def work(number: int) -> int:
        torch.manual_seed(number)
        for image in images:
            for _ in range(2):
                np.asarray(view(image))  # ends as pixels in memory, like ours
        return len(images)

    return work


def _albumentations(size: int, images: list[Image]) -> Work:
    view = albumentations_view(size)

    def work(number: int) -> int:
        for image in images:
            for _ in range(2):
                view(image)
        return len(images)

    return work


def _kornia(size: int, images: list[Image]) -> Work:
    view = kornia_view(size)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()  # [B, 3, H, W] uint8

    def work(number: int) -> int:
        torch.manual_seed(number)
        for _ in range(2):
            view(stacked.float() / 255).mul_(255).byte()  # it knows floats in 0..1 only
        return len(images)

    return work
