"""NNCLR: nearest neighbors as positives (Dwibedi et al., 2021, https://arxiv.org/abs/2104.14548).

Shapes: B samples on this worker, G samples on all workers, K vectors of the support set, D projection width.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.contrastive import in_batch_nce
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.nn.queue import enqueue_, nearest, random_unit_vectors
from ssl_core.noise import salt
from ssl_core.optimize.collectives import gather, rank
from ssl_core.types import Batch, LossOutput, Progress

QUEUE = 1  # what a random draw is for


class NNCLR(Method):
    """Match a view to the nearest neighbor of the other view among earlier samples."""

    view_kinds = ("global", "global")
    min_samples = 2  # the other samples are the negatives
    queue: Tensor
    next_slot: Tensor

    class Config(NamedConfig):
        name: Literal["nnclr"] = "nnclr"
        temperature: PositiveFloat = 0.1
        """Softmax temperature (implementation details)."""
        queue_size: PositiveInt = 65536
        """Size of the support set; larger is better in the paper's ablation, as long as it is not stale."""
        hidden_dim: PositiveInt = 2048
        """Width of the projector's two hidden layers (implementation details)."""
        predictor_dim: PositiveInt = 4096
        """Width of the predictor's hidden layer (implementation details)."""
        projection_dim: PositiveInt = 256
        """Width of the vectors that are compared (implementation details)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.temperature = config.temperature
        hidden, dim = config.hidden_dim, config.projection_dim
        self.projector = mlp(encoder.embed_dim, hidden, hidden, dim, last_norm="affine")
        self.predictor = mlp(dim, config.predictor_dim, dim)
        # random until real vectors replace them
        self.register_buffer("queue", random_unit_vectors(config.queue_size, dim, salt(QUEUE)))
        self.register_buffer("next_slot", torch.tensor(0))  # where the oldest vector is
        self._fresh: list[Tensor] = []  # vectors of this optimizer step, one [B, D] per forward

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        z_a, z_b = (self.projector(self.encoder(view).pooled) for view in batch.views)  # [B, D] each
        p_a, p_b = (normalize(self.predictor(z).float(), dim=-1) for z in (z_a, z_b))  # [B, D] each
        z_a, z_b = (normalize(z.detach().float(), dim=-1) for z in (z_a, z_b))
        if self.training:
            self._fresh.append(z_a)
        near_a, near_b = nearest(z_a, self.queue), nearest(z_b, self.queue)  # [B, D] each
        loss = (self._match(near_a, p_b) + self._match(near_b, p_a)) / 2
        return LossOutput(loss, {"neighbor_similarity": (z_a * near_a).sum(-1).mean()})

    def _match(self, neighbor: Tensor, prediction: Tensor) -> Tensor:
        """Equation 3, over the predictions of all workers."""
        first = rank() * len(neighbor)  # where my samples start in the global batch
        return in_batch_nce(neighbor, gather(prediction), first=first, temperature=self.temperature)

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        enqueue_(self.queue, self.next_slot, torch.cat([gather(z) for z in self._fresh]))
        self._fresh.clear()
