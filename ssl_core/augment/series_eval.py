"""The view of a time series that probes, reports and serving read: no randomness.

Shapes: B samples, C channels, L steps.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._series.base import SeriesAugmentation, SeriesConfig
from ssl_core.codecs._series.stored import SeriesValue


class SeriesEval(SeriesAugmentation):
    """The whole of a time series or its center, the same every time: for evaluation and serving."""

    draws = False

    class Config(SeriesConfig):
        name: Literal["series_eval"] = "series_eval"
        window: Literal["whole", "center"] = "whole"
        """whole: all of it, resampled to `length` steps; center: its `length` steps in the middle as they are, with
        missing values on both sides of a shorter one."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config

    def __call__(self, values: Sequence[SeriesValue], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.float32]:
        """B series -> [B, C, L] float32. Ignores sample_id and salt."""
        views = np.empty((len(values), *self.spec.shape), np.float32)
        length = self.config.length
        for value, view in zip(values, views, strict=True):
            steps = len(value.values)
            start = (steps - length) // 2
            whole = self.config.window == "whole"
            view[:] = (self.cut(value, 0, steps) if whole else self.cut(value, start, start + length)).T
        return views
