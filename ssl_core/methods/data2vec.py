"""data2vec: predict what a slow encoder says of masked patches (Baevski et al., 2022, https://arxiv.org/abs/2202.03555).

Works on any PatchEncoder. Targets are the mean of the teacher's top blocks, each layer-normed (the paper
normalizes speech over time instead). Shapes: B samples, N patches, D encoder width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.losses.reconstruction import masked_smooth_l1
from ssl_core.methods.base import Method
from ssl_core.nn.block_masks import unit_mask
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.noise import salt
from ssl_core.types import Batch, LossOutput, Progress

MASK = 1  # what a random draw is for
Momentum = Annotated[float, Field(ge=0, lt=1)]


class Data2Vec(Method):
    """Predict a slow encoder's view of the whole input at the masked patches."""

    view_kinds = ("global",)
    encoder_type = PatchEncoder
    encoder: PatchEncoder

    class Config(NamedConfig):
        name: Literal["data2vec"] = "data2vec"
        mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
        """Share of patches masked."""
        mask_unit: PositiveInt = 2
        """Patches a side that are masked together; the paper masks blocks as BEiT does."""
        top_blocks: PositiveInt = 6
        """K, the teacher's last blocks whose outputs are the target; at most all there are."""
        momentum: Momentum = 0.996
        """Of the teacher at the start (the paper: 0.999 over long runs)."""
        end_momentum: Momentum = 0.9999
        """It rises to this over the first `rise_fraction` of training, then stays."""
        rise_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
        beta: PositiveFloat = 2.0
        """Where the smooth L1 loss turns from squares to absolute errors."""

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(encoder)
        self.config = config
        if any(side % config.mask_unit for side in encoder.grid):
            grid = " x ".join(map(str, encoder.grid))
            raise ValueError(f"method.mask_unit: {config.mask_unit} does not divide the grid of {grid} patches; take 1")
        self.mask_token = nn.Parameter(torch.zeros(1, encoder.embed_dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.predict = nn.Linear(encoder.embed_dim, encoder.embed_dim)
        self.teacher = frozen_copy(encoder)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        patches = self.encoder.patchify(batch.views[0])  # [B, N, P]
        key, grid = salt(progress.seed, progress.step, MASK), self.encoder.grid
        mask = unit_mask(batch.sample_id, grid, self.config.mask_unit, self.config.mask_ratio, key)  # [B, N]
        encoded = self.encoder.encode(self.encoder.embed(patches, mask, self.mask_token[0]))
        predicted = self.predict(self._patches(encoded)).float()  # [B, N, D]
        target = self._target(patches)
        loss = masked_smooth_l1(predicted, target, mask, beta=self.config.beta)
        # the authors' code stops a run whose deviations fall below 0.01 and 0.1: the representation has collapsed
        spread = {"prediction_std": predicted.detach(), "target_std": target}
        return LossOutput(loss, {name: x.flatten(0, 1).std(0).mean() for name, x in spread.items()})

    @torch.no_grad()
    def _target(self, patches: Tensor) -> Tensor:
        """What the teacher says of the patches, seeing all of them: [B, N, D] float32."""
        outputs = self.teacher.encode_layers(self.teacher.embed(patches))[-self.config.top_blocks :]
        normed = [layer_norm(self._patches(x).float(), x.shape[-1:]) for x in outputs]
        return layer_norm(torch.stack(normed).mean(0), normed[0].shape[-1:])

    def _patches(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.encoder.num_class_tokens :]

    def after_step(self, progress: Progress) -> None:
        start, end = self.config.momentum, self.config.end_momentum
        risen = min((progress.step - 1) / progress.total / self.config.rise_fraction, 1.0)
        follow_(self.teacher, self.encoder, start + (end - start) * risen)
