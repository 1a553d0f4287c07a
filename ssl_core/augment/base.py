"""What an augmentation chain is: stored samples in, one stacked view out.

Chains run inside Ray Data tasks, whose processes never import torch: NumPy and OpenCV only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.uint8]  # [H, W, 3] RGB, any size


class Augmentation(ABC):
    """One view of each sample. Built as `cls(config)`; pure: no state, no global randomness."""

    view_shape: tuple[int, ...]
    """Shape of one finished view as the encoder sees it, channels first: (3, 32, 32)."""

    @abstractmethod
    def __call__(self, images: Sequence[Image], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.uint8]:
        """Augment a batch.

        Args:
            images: B decoded samples, [H, W, 3] uint8 RGB, sizes may differ.
            sample_id: [B]; every draw is keyed by (sample_id, salt), so neither the order nor the
                company of a sample in the batch changes its view.
            salt: ssl_core.noise.salt(seed, epoch, view index).
        Returns: [B, size, size, 3] uint8, C-contiguous: bytes that travel to the worker.
        """

    @abstractmethod
    def finish(self, view: "Tensor") -> "Tensor":
        """On the training device: [B, size, size, 3] uint8 -> [B, 3, size, size] float32, normalised, channels_last."""

    @abstractmethod
    def restore(self, view: "Tensor") -> "Tensor":
        """The inverse of finish up to rounding, for pictures: [B, 3, size, size] float -> [B, size, size, 3] uint8."""
