"""TS2Vec: hierarchical contrast of time series in context (Yue et al., 2022, https://arxiv.org/abs/2106.10466).

Shapes: B samples on this worker, C channels, T steps of the view, L steps that both crops share, D encoder width.
"""

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import StepEncoder
from ssl_core.losses.time_series import hierarchical_contrast
from ssl_core.methods.base import Method
from ssl_core.nn.dropout import KeyedDropout, keyed
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.noise import keyed_below, keyed_chance, keyed_uniform, salt
from ssl_core.optimize.collectives import gather, rank
from ssl_core.spec import SERIES_AXES
from ssl_core.types import Batch, LossOutput, Progress

CROP, OFFSET, MASK = 1, 2, 3  # what a random draw is for


class TS2Vec(Method):
    """Steps of a series agree in two overlapping crops with random steps masked, at every time scale."""

    view_kinds = ("global",)
    encoder_type = StepEncoder
    encoder: StepEncoder
    axes = SERIES_AXES
    min_samples = 2  # the other samples are the negatives
    exports = "averaged"

    class Config(NamedConfig):
        name: Literal["ts2vec"] = "ts2vec"
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
        """Weight of the instance-wise loss; the temporal one has the rest (eq. 3)."""
        mask_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
        """Probability that a step is masked, after the input projection."""
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
        """Of the representations, in training (the authors' code)."""

    def __init__(self, config: Config, encoder: StepEncoder):
        super().__init__(encoder)
        if encoder.spec.shape[1] < 2:
            raise ValueError("views.global.length: ts2vec crops twice, so a view needs 2 steps or more")
        self.alpha, self.mask_ratio = config.alpha, config.mask_ratio
        self.dropout = KeyedDropout(config.dropout, layer=0)
        self.averaged = frozen_copy(encoder)  # the mean of all steps' weights, which the authors evaluate

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        a, b = self._contexts(batch.views[0], batch.sample_id, progress)  # [B, L, D] each
        loss = hierarchical_contrast(a, b, gather(a), gather(b), first=rank() * len(a), alpha=self.alpha)
        return LossOutput(loss, {})

    def after_step(self, progress: Progress) -> None:
        follow_(self.averaged, self.encoder, 1 - 1 / progress.step)

    def _contexts(self, view: Tensor, sample_id: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
        """The steps of two crops that both have: [B, L, D] each. Sizes are the batch's, places the sample's."""
        low, left, right, high = _crops(view.shape[2], progress)
        key = salt(progress.seed, progress.step, OFFSET)
        number = torch.zeros(1, dtype=torch.int64, device=view.device)
        moved = keyed_below(sample_id, number, view.shape[2] - (high - low) + 1, key)[:, 0]  # [B] of the first crop
        first = self._encoded(_cut(view, moved, right - low), sample_id, progress, 0)  # [B, right - low, D]
        second = self._encoded(_cut(view, moved + left - low, high - left), sample_id, progress, 1)
        return first[:, left - low :], second[:, : right - left]

    def _encoded(self, crop: Tensor, sample_id: Tensor, progress: Progress, number: int) -> Tensor:
        """One crop [B, C, t] with steps masked -> [B, t, D]."""
        steps = self.encoder.embed(crop)  # [B, t, H]
        if self.training:
            column = torch.arange(steps.shape[1], device=steps.device)
            masked = keyed_chance(sample_id, column, self.mask_ratio, salt(progress.seed, progress.step, MASK, number))
            steps = steps * ~masked[..., None]
        with keyed(sample_id, progress, views=(number,)):
            encoded: Tensor = self.dropout(self.encoder.encode(steps))
        return encoded


def _crops(length: int, progress: Progress) -> tuple[int, int, int, int]:
    """First crop low:right, second one left:high; both have left:right, two steps or more."""
    draws = keyed_uniform(np.zeros(1, np.int64), 4, salt(progress.seed, progress.step, CROP))[0].tolist()
    shared = 2 + int(draws[0] * (length - 1))
    left = int(draws[1] * (length - shared + 1))
    right = left + shared
    return int(draws[2] * (left + 1)), left, right, right + int(draws[3] * (length - right + 1))


def _cut(view: Tensor, start: Tensor, length: int) -> Tensor:
    """[B, C, T], start [B] -> [B, C, length]."""
    place = start[:, None] + torch.arange(length, device=view.device)  # [B, length]
    return view.gather(2, place[:, None].expand(-1, view.shape[1], -1))
