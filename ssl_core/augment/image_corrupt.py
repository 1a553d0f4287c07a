"""The evaluation view, corrupted: what is left of an encoder's scores when pictures are noisy, blurred or faded.

Shapes: B samples.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from ssl_core.augment._image.base import ImageAugmentation
from ssl_core.augment._image.corruptions import Kind, corrupt
from ssl_core.augment.image_eval import ImageEval
from ssl_core.codecs._image.resize import Image
from ssl_core.config import NamedConfig


class ImageCorrupt(ImageAugmentation):
    """The view of image_eval under a common corruption at severity 1 to 5: for robustness."""

    class Config(NamedConfig):
        name: Literal["image_corrupt"] = "image_corrupt"
        size: PositiveInt = 224
        """Side of a view in pixels; up to 64 the severities are those of CIFAR-10-C, above those of ImageNet-C."""
        crop_fraction: float = Field(default=0.875, gt=0, le=1)
        """As in image_eval."""
        kind: Kind = "gaussian_noise"
        """The corruption."""
        severity: int = Field(default=3, ge=1, le=5)
        """From 1, hardly visible, to 5."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.size)
        self.config = config
        self._clean = ImageEval(ImageEval.Config(size=config.size, crop_fraction=config.crop_fraction))

    def __call__(self, images: Sequence[Image], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.uint8]:
        """Cut, resize, then corrupt: B images -> [B, size, size, 3] uint8."""
        views = self._clean(images, sample_id, salt)  # [B, size, size, 3]
        for view, sample in zip(views, sample_id.tolist(), strict=True):
            view[:] = corrupt(view, self.config.kind, self.config.severity, sample, salt)
        return views

    def reduction(self, shapes: NDArray[np.int64], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
        """As image_eval's: [B, 2] heights and widths -> [B] of 1, 2, 4, 8."""
        return self._clean.reduction(shapes, sample_id, salt)
