"""What every chain of time series shares: the view, its scale, and its statistics.

Shapes: B samples, C channels, L steps of a view, T steps of a series.
"""

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt, model_validator

from ssl_core.augment._series.plot import line_plot
from ssl_core.augment._series.statistics import statistics
from ssl_core.augment._series.window import steps_as_rows
from ssl_core.augment.base import Augmentation
from ssl_core.codecs._series.stored import SeriesValue
from ssl_core.codecs.base import DecodeError
from ssl_core.config import NamedConfig
from ssl_core.spec import SERIES_AXES, ViewSpec

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-6
"""A deviation below this share of the mean is rounding of float32, not signal."""
PICTURE_SIDE = 64
"""Pixels a side of a line plot in reports."""


class SeriesConfig(NamedConfig):
    """Knobs that every chain of series has under the same names."""

    length: PositiveInt = 256
    """Steps of a view."""
    channels: PositiveInt = 1
    """Channels of every series."""
    normalize: Literal["series", "view", "given", "none"] = "series"
    """Each channel to mean 0 and deviation 1: over the whole series; over what the view shows of it; by `mean` and
    `std` (levels stay comparable between samples); or not at all."""
    mean: tuple[float, ...] = ()
    """Per channel, for normalize: given. Take them from train."""
    std: tuple[PositiveFloat, ...] = ()
    """See mean."""
    clock: Literal["row", "time"] = "row"
    """What an even step of a view is: a row of the series, or a stretch of its `time`, where it has one."""

    @model_validator(mode="after")
    def _scale_is_complete(self) -> Self:
        wanted = self.channels if self.normalize == "given" else 0
        if (len(self.mean), len(self.std)) != (wanted, wanted):
            raise ValueError(
                f"normalize: {self.normalize} with {self.channels} channels needs {wanted} numbers in mean and in std; "
                f"they have {len(self.mean)} and {len(self.std)}"
            )
        return self


class SeriesAugmentation(Augmentation):
    """A chain whose views are `length` even steps: [B, C, L] float32 as they travel, NaN where missing."""

    field = "series"
    codec = "series"
    floor_name = "series-statistics-1"

    def __init__(self, config: SeriesConfig) -> None:
        self.spec = ViewSpec(SERIES_AXES, (config.channels, config.length), nbytes=4 * config.channels * config.length)
        self._scale = config
        self.normalize = config.normalize

    def cut(self, value: SeriesValue, start: float, stop: float) -> NDArray[np.float32]:
        """Steps `start` to `stop` of a series, normalized: [L, C]; what lies outside of it is missing.

        Raises:
            DecodeError: a series of another number of channels.
        """
        given, scale = value.values, self._scale
        if given.shape[1] != scale.channels:
            raise DecodeError(
                f"series has {given.shape[1]} channels; the views have {scale.channels} (views.*.channels)"
            )
        if scale.normalize == "series":
            given = _standardized(given)
        elif scale.normalize == "given":
            given = ((given - np.array(scale.mean)) / np.array(scale.std)).astype(np.float32)
        time = value.time if scale.clock == "time" else None
        seen = steps_as_rows(given, time, start, stop, scale.length)
        return _standardized(seen) if scale.normalize == "view" else seen

    def scale_of(self, seen: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the view of a stretch [L, C] subtracts and divides by, [C] each; by 1 where a channel is constant.

        Raises:
            ValueError: it is normalized by the whole series, of which the stretch says nothing.
        """
        if self.normalize == "series":
            raise ValueError("normalize: series reads more than the stretch")
        if self.normalize == "given":
            return np.array(self._scale.mean), np.array(self._scale.std)
        if self.normalize == "none":
            return np.zeros(seen.shape[1]), np.ones(seen.shape[1])
        mean, std = moments(seen)
        return mean, np.where(std > 0, std, 1.0)

    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """Missing values become 0, the mean of a normalized series: [B, C, L] float32."""
        return view.float().nan_to_num(nan=0.0)

    def restore(self, view: "Tensor") -> "Tensor":
        """As it travels, but that missing values stay 0: [B, C, L] float32."""
        return view.float()

    def pictures(self, view: NDArray[Any]) -> NDArray[np.uint8]:
        """Line plots, each channel over its own range."""
        return np.stack([line_plot(each.T, PICTURE_SIDE) for each in view])

    def floor(self, view: "Tensor", valid: "Tensor | None" = None) -> "Tensor":
        """Per channel: mean, deviation, quantiles, slope, band energies, share missing: [B, C, L] -> [B, 17 C]."""
        return statistics(view.float())


def _standardized(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each channel of [T, C] to mean 0 and deviation 1 over what is not missing; a constant one becomes 0."""
    mean, std = moments(values)
    scale = np.where(std > 0, std, np.inf)  # [C]; by infinity: 0, or missing still
    return ((values - mean) / scale).astype(np.float32)


def moments(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel of [T, C] over what is not missing, [C] each; 0 that of a constant one."""
    known = ~np.isnan(values)
    if known.all():
        mean = values.mean(axis=0, dtype=np.float64)
        centered = values - mean
        std = np.sqrt((centered * centered).mean(axis=0))
    else:
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / count
        centered = values - mean
        std = np.sqrt(np.where(known, centered * centered, 0).sum(axis=0) / count)
    return mean, np.where(std > _ROUNDING * np.abs(mean), std, 0.0)
