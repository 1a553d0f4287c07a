"""What every image chain shares: the view shape and the way from bytes to normalized tensors and back."""

from typing import TYPE_CHECKING

from ssl_core.augment.base import Augmentation

if TYPE_CHECKING:
    from torch import Tensor

# ImageNet statistics of RGB channels in uint8 levels (0..255), the convention of published encoders.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class ImageAugmentation(Augmentation):
    """A chain whose views are square RGB images of `size` pixels."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.view_shape = (3, size, size)

    def finish(self, view: "Tensor") -> "Tensor":
        """Normalize on the training device: [B, size, size, 3] uint8 -> [B, 3, size, size] float32, channels_last."""
        pixels = view.movedim(-1, 1).float()  # [B, 3, H, W]; NHWC bytes seen as NCHW are channels_last already
        mean = pixels.new_tensor(MEAN).view(3, 1, 1)
        std = pixels.new_tensor(STD).view(3, 1, 1)
        return pixels.sub(mean).div_(std)

    def restore(self, view: "Tensor") -> "Tensor":
        """Undo `finish` for pictures: [B, 3, size, size] float -> [B, size, size, 3] uint8, clipped to 0..255."""
        pixels = view.float()
        mean = pixels.new_tensor(MEAN).view(3, 1, 1)
        std = pixels.new_tensor(STD).view(3, 1, 1)
        return pixels.mul(std).add_(mean).round_().clamp_(0, 255).byte().movedim(1, -1).contiguous()  # [B, H, W, 3]
