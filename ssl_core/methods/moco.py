"""MoCo v2: momentum contrast (He et al., 2020, https://arxiv.org/abs/1911.05722; Chen et al., 2020, 2003.04297).

The paper shuffles BatchNorm between GPUs, because statistics of a single GPU let query and key recognize each
other. Here BatchNorm spans all workers, so every sample of the batch is normalized alike and there is
nothing to shuffle. Shapes: B samples on this worker, K queue entries, D projection width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.contrastive import info_nce
from ssl_core.methods.base import Method
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.nn.heads import mlp
from ssl_core.nn.queue import enqueue_, random_unit_vectors
from ssl_core.noise import salt
from ssl_core.optimize.collectives import gather
from ssl_core.types import Batch, LossOutput, Progress

QUEUE = 1  # what a random draw is for


class MoCo(Method):
    """Match a view to the same sample's view in a slow encoder, against a queue of earlier samples."""

    view_kinds = ("global", "global")
    queue: Tensor
    next_slot: Tensor

    class Config(NamedConfig):
        name: Literal["moco"] = "moco"
        temperature: PositiveFloat = 0.2
        """Softmax temperature (v2, section 3)."""
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999
        """How slowly the key encoder follows (table 4 of v1)."""
        queue_size: PositiveInt = 65536
        """Negatives kept (figure 3 of v1); 4096 suits CIFAR-10."""
        hidden_dim: PositiveInt = 2048
        """Width of the projection head's hidden layer (v2, section 3)."""
        projection_dim: PositiveInt = 128
        """Width of the vectors that are compared (section 3.3 of v1)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.temperature, self.momentum = config.temperature, config.momentum
        self.projector = mlp(encoder.embed_dim, config.hidden_dim, config.projection_dim, batch_norm=False)
        self.key_encoder, self.key_projector = frozen_copy(encoder), frozen_copy(self.projector)
        # random until real keys replace them, as in the authors' code
        self.register_buffer("queue", random_unit_vectors(config.queue_size, config.projection_dim, salt(QUEUE)))
        self.register_buffer("next_slot", torch.tensor(0))  # where the oldest key is
        self._fresh: list[Tensor] = []  # keys of this optimizer step, one [B, D] per forward

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        view_q, view_k = batch.views
        q = normalize(self.projector(self.encoder(view_q).pooled).float(), dim=-1)  # [B, D]
        with torch.no_grad():
            k = normalize(self.key_projector(self.key_encoder(view_k).pooled).float(), dim=-1)  # [B, D]
        if self.training:
            self._fresh.append(k)
        loss = info_nce(q, k, self.queue, temperature=self.temperature)
        return LossOutput(loss, {"alignment": (q - k).square().sum(-1).mean().detach()})

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        follow_(self.key_encoder, self.encoder, self.momentum)
        follow_(self.key_projector, self.projector, self.momentum)
        enqueue_(self.queue, self.next_slot, torch.cat([gather(k) for k in self._fresh]))
        self._fresh.clear()
