"""What an augmentation chain is: decoded values of one field in, one stacked view of each sample out.

Chains run inside Ray Data tasks, on CPUs: NumPy and OpenCV only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_core.spec import ViewSpec

if TYPE_CHECKING:
    from torch import Tensor


class Ragged(NamedTuple):
    """Views of unequal length."""

    x: NDArray[Any]  # [B, T, ...], what lies behind a sample's length is padding
    length: NDArray[np.int64]  # [B]


class Augmentation(ABC):
    """One view of each sample. Built as `cls(config)`; pure: no state, no global randomness."""

    field: ClassVar[str]
    """Which field of a sample it reads: "image", "series"."""
    codec: ClassVar[str]
    """Which codec gives the values that it reads: a file of ssl_core/codecs."""
    draws: ClassVar[bool] = True
    """False: the same view every time, fit to be the evaluation view."""
    floor_name: ClassVar[str]
    """Names what `floor` computes in records of kept features; another computation is another name."""
    lossless: bool = True
    """Whether `restore` gives back what travels; False: something else that `pictures` and `floor` read as well."""
    spec: ViewSpec
    """Of one finished view, as the encoder sees it."""

    @property
    def view_shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @abstractmethod
    def __call__(self, values: Sequence[Any], sample_id: NDArray[np.int64], salt: int) -> NDArray[Any] | Ragged:
        """Augment a batch.

        Args:
            values: B decoded values, as the codec gives them; sizes may differ.
            sample_id: [B]; every draw is keyed by (sample_id, salt), so neither the order nor the
                company of a sample in the batch changes its view.
            salt: ssl_core.noise.view_salt(seed, epoch, view index).
        Returns: [B, ...] C-contiguous: what travels to the worker, `spec.nbytes` a view. A ragged spec gives Ragged.
        """

    def reduction(self, extents: NDArray[np.int64], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
        """How far a decoder may shrink each sample before it is augmented; 1 unless the chain says otherwise.

        Args:
            extents: [B, k] of the whole values, as `Codec.extent` gives them: heights and widths of images.
            sample_id: [B]; with salt as in `__call__`, because how much of a sample is needed is a matter of the draws.
            salt: as in `__call__`.
        Returns: [B] of 1, 2, 4, 8: the views of values of 1/2, 1/4, 1/8 of the size, by this factor or a smaller one,
            are those of the whole values up to what a decoder's filter changes.
        """
        return np.ones(len(extents), np.int64)

    @abstractmethod
    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """What is left for the training device, e.g. normalization.

        Args:
            view: [B, ...] from `__call__`.
            sample_id: [B] and salt as in `__call__`; read only by chains that finish augmenting here.
            salt: see sample_id.
        Returns: [B, *spec.shape], what the encoder reads.
        """

    def valid(self, view: "Tensor") -> "Tensor | None":
        """Where views [B, ...], finished or not, hold data: [B, T] bool; None: everywhere. Of ragged views alone."""
        return None

    @abstractmethod
    def restore(self, view: "Tensor") -> "Tensor":
        """Undo `finish` for reports: [B, *spec.shape] -> [B, ...] as `__call__` gives it."""

    @abstractmethod
    def pictures(self, view: NDArray[Any]) -> NDArray[np.uint8]:
        """What a report shows of views: [B, ...] as `__call__` or `restore` gives them -> [B, H, W, 3] RGB."""

    @abstractmethod
    def floor(self, view: "Tensor", valid: "Tensor | None" = None) -> "Tensor":
        """The raw input as a feature vector: what views say without any encoder.

        Args:
            view: [B, ...] from `__call__`, before `finish`.
            valid: [B, T] bool of a ragged view.
        Returns: [B, D] float32.
        """
