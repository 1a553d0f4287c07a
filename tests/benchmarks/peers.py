"""SimCLR's augmentation as users of other libraries write it: crop 0.08-1, flip, jitter 0.8/0.8/0.8/0.2, gray, blur.

Peers are imported where they are used: a machine may lack them.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torchvision.transforms import v2

from ssl_core.augment._image.blur import kernel_size
from ssl_core.codecs._image.resize import Image

SIGMA = (0.1, 2.0)


def torchvision_view(size: int) -> v2.Transform:
    """For a PIL image or a [3, H, W] uint8 tensor; draws from torch's generator."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(kernel_size(size), SIGMA)], p=0.5),
        ]
    )


def albumentations_view(size: int) -> Callable[[Image], Image]:
    """For one [H, W, 3] uint8 array."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks the network for its newest version when imported
    import albumentations as A

    kernel = kernel_size(size)
    factor = (0.2, 1.8)
    chain = A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(factor, factor, factor, (-0.2, 0.2), p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=(kernel, kernel), sigma_limit=SIGMA, p=0.5),
        ],
        seed=0,
    )
    return lambda image: chain(image=image)["image"]


def kornia_view(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """For [B, 3, H, W] float images in 0..1 on any device; draws per image from torch's generator."""
    import kornia.augmentation as K

    crop = K.RandomResizedCrop((size, size), scale=(0.08, 1.0)), K.RandomHorizontalFlip()
    chain: Any = K.AugmentationSequential(*crop, kornia_colors(size), data_keys=["input"])
    return chain


def kornia_colors(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The rest of it, for views that are cropped."""
    import kornia.augmentation as K

    kernel = kernel_size(size)
    chain: Any = K.AugmentationSequential(
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((kernel, kernel), SIGMA, p=0.5),
        data_keys=["input"],
    )
    return chain
