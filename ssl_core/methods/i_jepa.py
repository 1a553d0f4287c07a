"""I-JEPA: predict a slow encoder's features of blocks from a context (Assran et al., 2023).

https://arxiv.org/abs/2301.08243.

The authors' collator cuts the lists of patches to the shortest of the batch, which always drops the last rows, and
draws the first row of a block below H - h, which leaves the last place out. Here places are drawn among all there are,
and patches are dropped at random. Block sizes are of the step, places of the sample. Shapes: B samples, N patches, K of
the context, M of one target block, D encoder width.
"""

from math import sqrt
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import layer_norm, smooth_l1_loss

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.methods.base import Method
from ssl_core.nn.block_masks import block_mask, draw_places
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.nn.masking import take
from ssl_core.nn.transformer import Block, initialize_, sincos_positions
from ssl_core.noise import keyed_uniform, salt
from ssl_core.optimize.collectives import least
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress

SIZES, PLACES, DROP = 1, 2, 3  # what a random draw is for
Share = Annotated[float, Field(gt=0, le=1)]


class IJEPA(Method):
    """Predict a slow encoder's features of blocks from the rest of the image; no augmentation but a crop."""

    view_kinds = ("global",)
    encoder_type = PatchEncoder
    encoder: PatchEncoder
    axes = IMAGE_AXES
    exports: ClassVar[str] = "teacher"  # the target encoder is what the authors evaluate
    position: Tensor

    class Config(NamedConfig):
        name: Literal["i_jepa"] = "i_jepa"
        num_targets: PositiveInt = 4
        """Target blocks of an image."""
        target_scale: tuple[Share, Share] = (0.15, 0.2)
        """Share of the image that a target block covers."""
        aspect: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.75, 1.5)
        """Height over width of a target block."""
        context_scale: tuple[Share, Share] = (0.85, 1.0)
        """Share of the image that the context covers before the targets are taken out of it."""
        fewest: PositiveInt = 4
        """Patches of the context at least; where targets leave fewer, some of theirs stay in."""
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.996
        """Of the target encoder at the start; it rises to 1 in a straight line, as in the authors' code."""
        predictor_dim: PositiveInt = 384
        """Width of the predictor, narrower than the encoder."""
        predictor_depth: PositiveInt = 6
        predictor_heads: PositiveInt = 6

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(encoder)
        dim, heads = config.predictor_dim, config.predictor_heads
        if dim % heads or dim % 4:
            raise ValueError(f"method.predictor_dim: {dim} is no multiple of 4 and of method.predictor_heads {heads}")
        self.config, self.teacher = config, frozen_copy(encoder)
        rows, columns = encoder.grid
        self.grid = (rows, columns)
        self.shrink, self.grow = nn.Linear(encoder.embed_dim, dim), nn.Linear(dim, encoder.embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.register_buffer("position", sincos_positions(dim, self.grid)[None], persistent=False)  # [1, N, dim]
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(config.predictor_depth)])
        self.norm = nn.LayerNorm(dim)
        for part in (self.shrink, self.grow, self.blocks):
            initialize_(part)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        patches = self.encoder.patchify(batch.views[0])  # [B, N, P]
        context, targets = self._masks(batch.sample_id, progress)  # [B, K]; num_targets x [B, M]
        seen = self.encoder.encode(take(self.encoder.embed(patches), context))[:, self.encoder.num_class_tokens :]
        with torch.no_grad():
            wanted = self.teacher.encode(self.teacher.embed(patches))[:, self.encoder.num_class_tokens :]
            wanted = layer_norm(wanted.float(), wanted.shape[-1:])  # [B, N, D]
        losses = [smooth_l1_loss(self._predict(seen, context, place), take(wanted, place)) for place in targets]
        return LossOutput(torch.stack(losses).mean(), {"target_std": wanted.flatten(0, 1).std(0).mean()})

    def after_step(self, progress: Progress) -> None:
        risen = (progress.step - 1) / progress.total
        follow_(self.teacher, self.encoder, self.config.momentum + (1 - self.config.momentum) * risen)

    def _predict(self, seen: Tensor, context: Tensor, place: Tensor) -> Tensor:
        """Tokens [B, K, D] at context [B, K] -> features at place [B, M]: [B, M, D] float32."""
        position = self.position.expand(len(seen), -1, -1)  # [B, N, dim]
        asked = self.mask_token + take(position, place)  # [B, M, dim]
        tokens = torch.cat([self.shrink(seen) + take(position, context), asked], dim=1)
        answers = self.blocks(tokens)[:, -place.shape[1] :]
        predicted: Tensor = self.grow(self.norm(answers)).float()
        return predicted

    def _masks(self, sample_id: Tensor, progress: Progress) -> tuple[Tensor, list[Tensor]]:
        """Patches of the context [B, K], and of each target block [B, M]; M is the step's, K of the whole batch."""
        seed, step = progress.seed, progress.step
        draws = keyed_uniform(np.zeros(1, np.int64), 3, salt(seed, step, SIZES))[0].tolist()
        size = self._size(_between(self.config.target_scale, draws[0]), _between(self.config.aspect, draws[1]))
        places = salt(seed, step, PLACES)
        blocks = [block_mask(sample_id, self.grid, size, 1 + i, places) for i in range(self.config.num_targets)]
        whole = self._size(_between(self.config.context_scale, draws[2]), 1.0)
        around = block_mask(sample_id, self.grid, whole, 0, places)
        free = around & ~torch.stack(blocks).any(0)  # [B, N]
        # as many as the least that the targets leave to a sample, of the batch of all workers
        count = max(least(int(free.sum(1).min()), free.device), min(self.config.fewest, whole[0] * whole[1]))
        context = draw_places(free, around, count, sample_id, salt(seed, step, DROP))
        return context, [draw_places(block, block, size[0] * size[1], sample_id, places) for block in blocks]

    def _size(self, scale: float, aspect: float) -> tuple[int, int]:
        """Rows and columns of a block, at least one and at most the grid's."""
        area = scale * self.grid[0] * self.grid[1]
        rows, columns = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        return min(max(rows, 1), self.grid[0]), min(max(columns, 1), self.grid[1])


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
