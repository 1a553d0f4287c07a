"""MoCo v3: momentum contrast of vision transformers (Chen et al., 2021, https://arxiv.org/abs/2104.02057).

Keys are those of the batch of all workers, without a queue; a predictor makes the sides unlike; the patch embedding
stays as it was drawn, since its gradients come in spikes that cost accuracy (section 4.1).
Shapes: B samples on this worker, G samples on all workers, D projection width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.losses.contrastive import in_batch_nce
from ssl_core.methods.base import Method
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.nn.heads import mlp
from ssl_core.optimize.collectives import gather, rank
from ssl_core.optimize.schedules import teacher_momentum
from ssl_core.types import Batch, LossOutput, Progress


class MoCoV3(Method):
    """Match a view to the same sample's view in a slow encoder, against the batch; for transformers on patches."""

    view_kinds = ("global", "global")
    encoder_type = PatchEncoder
    min_samples = 2  # the other samples are the negatives

    class Config(NamedConfig):
        name: Literal["moco_v3"] = "moco_v3"
        temperature: PositiveFloat = 0.2
        """Softmax temperature (section 5)."""
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
        """How slowly the key encoder follows at first; it rises to 1 as half a cosine (table 5)."""
        freeze_patch_embedding: bool = True
        """Leave it at random weights (section 4.1)."""
        hidden_dim: PositiveInt = 4096
        """Width of the hidden layers of projector and predictor (section 4)."""
        projection_dim: PositiveInt = 256
        """Width of the vectors that are compared (section 4)."""

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(encoder)
        self.temperature, self.momentum = config.temperature, config.momentum
        hidden, dim = config.hidden_dim, config.projection_dim
        if config.freeze_patch_embedding:
            encoder.layers()[0].requires_grad_(False)
        self.projector = mlp(encoder.embed_dim, hidden, hidden, dim, last_norm="plain")
        self.predictor = mlp(dim, hidden, dim, last_norm="plain")
        self.key_encoder, self.key_projector = frozen_copy(encoder), frozen_copy(self.projector)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        q_a, q_b = (self.predictor(self.projector(self.encoder(view).pooled)) for view in batch.views)  # [B, D] each
        with torch.no_grad():
            k_a, k_b = (self.key_projector(self.key_encoder(view).pooled) for view in batch.views)  # [B, D] each
        return LossOutput(self._match(q_a, k_b) + self._match(q_b, k_a), {})

    def _match(self, q: Tensor, k: Tensor) -> Tensor:
        """Algorithm 1: scaled so that the temperature does not scale gradients."""
        q, k = (normalize(z.float(), dim=-1) for z in (q, k))
        first = rank() * len(q)  # where my samples start in the global batch
        return 2 * self.temperature * in_batch_nce(q, gather(k), first=first, temperature=self.temperature)

    def after_step(self, progress: Progress) -> None:
        momentum = teacher_momentum(self.momentum, progress.step, progress.total)
        follow_(self.key_encoder, self.encoder, momentum)
        follow_(self.key_projector, self.projector, momentum)
