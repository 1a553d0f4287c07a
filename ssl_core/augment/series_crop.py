"""Random crop, jitter, scaling and masking of time series (Um et al., 2017, https://arxiv.org/abs/1706.00527).

Shapes: B samples, C channels, L steps, S segments.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from ssl_core import noise
from ssl_core.augment._series.base import SeriesAugmentation, SeriesConfig
from ssl_core.augment._series.draws import keyed_normals
from ssl_core.codecs._series.stored import SeriesValue

CROP, JITTER, SCALE, MASK, SEGMENTS = range(5)  # what a random draw is for
Share = Annotated[float, Field(ge=0, le=1)]


class SeriesCrop(SeriesAugmentation):
    """Random crop of a time series with noise, scaling and masked spans: for contrastive and masked methods."""

    class Config(SeriesConfig):
        name: Literal["series_crop"] = "series_crop"
        window: Literal["share", "length"] = "share"
        """share: `crop_min` to `crop_max` of the series, resampled to `length` steps; length: `length` steps of it as
        they are, with missing values beside a shorter one."""
        crop_min: float = Field(default=0.5, gt=0, le=1)
        """Smallest crop, as a share of the series."""
        crop_max: float = Field(default=1.0, gt=0, le=1)
        jitter: NonNegativeFloat = 0.05
        """Deviation of Gaussian noise added to each value, in units of the normalized view."""
        scaling: NonNegativeFloat = 0.1
        """Deviation of the factor, around 1, of each channel."""
        mask_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
        """Share of the steps made missing, all channels at once."""
        mask_span: PositiveInt = 8
        """Steps in a row that are masked together."""
        flip: Share = 0.0
        """Probability that time runs backwards."""
        segments: PositiveInt = 1
        """Cut into so many stretches and put together in random order; 1: left in order."""

        @model_validator(mode="after")
        def _range_is_ordered(self) -> Self:
            if self.crop_min > self.crop_max:
                raise ValueError(f"crop_min ({self.crop_min}) must not exceed crop_max ({self.crop_max})")
            if self.segments > self.length:
                raise ValueError(f"segments ({self.segments}) must not exceed length ({self.length})")
            return self

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config

    def __call__(self, values: Sequence[SeriesValue], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.float32]:
        """B series -> [B, C, L] float32, NaN where missing or masked."""
        config, count = self.config, len(values)
        draws = noise.keyed_uniform(sample_id, 3, noise.salt(salt, CROP))  # [B, 3] size, start, flip
        views = np.empty((count, *self.spec.shape), np.float32)
        for value, (size, start, _), view in zip(values, draws.tolist(), views, strict=True):
            view[:] = self.cut(value, *self._crop(len(value.values), size, start)).T
        if config.flip > 0:
            backwards = draws[:, 2] < config.flip
            views[backwards] = views[backwards, :, ::-1]
        if config.segments > 1:
            views = np.take_along_axis(views, self._order(sample_id, salt)[:, None], axis=2)
        if config.scaling > 0:
            factor = 1 + config.scaling * keyed_normals(sample_id, config.channels, noise.salt(salt, SCALE))  # [B, C]
            views *= factor.astype(np.float32)[:, :, None]
        if config.jitter > 0:
            added = keyed_normals(sample_id, config.channels * config.length, noise.salt(salt, JITTER))
            views += np.float32(config.jitter) * added.reshape(views.shape)
        if config.mask_ratio > 0:
            hidden = self._hidden(sample_id, salt)
            np.copyto(views, np.float32(np.nan), where=hidden[:, None])
        return views

    def _crop(self, steps: int, size: float, start: float) -> tuple[int, int]:
        """First row and the one behind the last."""
        if self.config.window == "length":
            free = steps - self.config.length
            first = int(start * (abs(free) + 1)) * (1 if free >= 0 else -1)
            return first, first + self.config.length
        low, high = self.config.crop_min, self.config.crop_max
        rows = min(max(round((low + (high - low) * size) * steps), 2), steps)
        first = int(start * (steps - rows + 1))
        return first, first + rows

    def _order(self, sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
        """Steps with their segments shuffled: [B, L]."""
        length, segments = self.config.length, self.config.segments
        bits = noise.keyed_bits(sample_id, np.arange(segments, dtype=np.int64), noise.salt(salt, SEGMENTS))  # [B, S]
        rank = bits.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")  # [B, S]
        of_step = np.arange(length) * segments // length  # [L]
        return (rank[:, of_step] * length + np.arange(length)).argsort(axis=1, kind="stable")

    def _hidden(self, sample_id: NDArray[np.int64], salt: int) -> NDArray[np.bool_]:
        """Steps to mask: [B, L]; a fixed number of spans on a grid that is shifted for each sample."""
        length, span = self.config.length, self.config.mask_span
        spans = -(-length // span) + 1
        bits = noise.keyed_bits(sample_id, np.arange(spans + 1, dtype=np.int64), noise.salt(salt, MASK))
        shift = bits[:, :1] % span  # [B, 1]
        chosen = bits[:, 1:].argsort(axis=1, kind="stable").argsort(axis=1) < round(self.config.mask_ratio * spans)
        of_step = (np.arange(length) + shift) // span  # [B, L]
        hidden: NDArray[np.bool_] = np.take_along_axis(chosen, of_step, axis=1)
        return hidden
