"""What an augmentation chain is: stored samples in, one stacked view out.

Chains run inside Ray Data tasks, on CPUs: NumPy and OpenCV only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.resize import Image

if TYPE_CHECKING:
    from torch import Tensor


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

    def reduction(self, shapes: NDArray[np.int64], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
        """How far a decoder may shrink each sample before it is augmented; 1 unless the chain says otherwise.

        Args:
            shapes: [B, 2] heights and widths of the whole images.
            sample_id: [B]; with salt as in `__call__`, because how much of an image is needed is a matter of the draws.
            salt: as in `__call__`.
        Returns: [B] of 1, 2, 4, 8: the views of images of 1/2, 1/4, 1/8 of the size, by this factor or a smaller one,
            are those of the whole images up to what a decoder's filter changes.
        """
        return np.ones(len(shapes), np.int64)

    @abstractmethod
    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """What is left for the training device, normalization at least.

        Args:
            view: [B, size, size, 3] uint8, from `__call__`.
            sample_id: [B] and salt as in `__call__`; read only by chains that finish augmenting here.
            salt: see sample_id.
        Returns: [B, 3, size, size] float32, normalized, channels_last.
        """

    @abstractmethod
    def restore(self, view: "Tensor") -> "Tensor":
        """Undo the normalization for pictures: [B, 3, size, size] float -> [B, size, size, 3] uint8."""
