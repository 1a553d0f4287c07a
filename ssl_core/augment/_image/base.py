"""What every image chain shares: the view shape and the way from bytes to normalized tensors and back."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment.base import Augmentation
from ssl_core.spec import IMAGE_AXES, ViewSpec

if TYPE_CHECKING:
    from torch import Tensor

# ImageNet statistics of RGB channels in uint8 levels (0..255), the convention of published encoders.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

FLOOR_SIDE = 32


class ImageAugmentation(Augmentation):
    """A chain whose views are square RGB images of `size` pixels."""

    field = "image"
    codec = "image"
    floor_name = "pixels"

    def __init__(self, size: int) -> None:
        self.size = size
        self.spec = ViewSpec(IMAGE_AXES, (3, size, size), nbytes=3 * size * size)

    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """Normalize: [B, size, size, 3] uint8 -> [B, 3, size, size] float32, channels_last."""
        pixels = view.movedim(-1, 1).float()  # [B, 3, H, W]; NHWC bytes seen as NCHW are channels_last already
        return pixels.sub(_per_channel(MEAN, pixels)).div_(_per_channel(STD, pixels))

    def restore(self, view: "Tensor") -> "Tensor":
        """Undo the normalization for pictures: [B, 3, size, size] float -> [B, size, size, 3] uint8, clipped."""
        pixels = view.float()
        levels = pixels.mul(_per_channel(STD, pixels)).add_(_per_channel(MEAN, pixels)).round_().clamp_(0, 255).byte()
        return levels.movedim(1, -1).contiguous()  # [B, H, W, 3]

    def pictures(self, view: NDArray[Any]) -> NDArray[np.uint8]:
        return view

    def floor(self, view: "Tensor", valid: "Tensor | None" = None) -> "Tensor":
        """Pixels in [0, 1], averaged down to at most 32 a side: [B, size, size, 3] uint8 -> [B, 3 * side^2]."""
        from torch.nn.functional import adaptive_avg_pool2d

        x = view.movedim(-1, 1).float() / 255  # [B, 3, size, size]
        if x.shape[-1] > FLOOR_SIDE:
            x = adaptive_avg_pool2d(x, FLOOR_SIDE)
        return x.flatten(1)


def _per_channel(values: tuple[float, float, float], pixels: "Tensor") -> "Tensor":
    """[3, 1, 1] beside the pixels; the copy waits for nothing that the device still has to do."""
    import torch

    return torch.tensor(values, dtype=pixels.dtype).to(pixels.device, non_blocking=True).view(3, 1, 1)
