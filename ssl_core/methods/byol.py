"""BYOL: bootstrap your own latent (Grill et al., 2020, https://arxiv.org/abs/2006.07733).

The target network is in training mode, as the authors' is: its BatchNorm normalizes by the batch at hand, and only
its parameters follow. Shapes: B samples on this worker, D projection width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.joint_embedding import negative_cosine
from ssl_core.methods.base import Method
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.nn.heads import mlp
from ssl_core.optimize.schedules import teacher_momentum
from ssl_core.types import Batch, LossOutput, Progress


class BYOL(Method):
    """Predict a view's vector in a slow network from the other view; no negatives."""

    view_kinds = ("global", "global")
    min_samples = 2  # BatchNorm in the heads

    class Config(NamedConfig):
        name: Literal["byol"] = "byol"
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.996
        """How slowly the target follows at first; it rises to 1 (section 3.3). The authors' code takes 0.99 for 100 to
        300 epochs and 0.97 for 40: short runs want a faster target."""
        hidden_dim: PositiveInt = 4096
        """Width of the hidden layer of projector and predictor (section 3.3)."""
        projection_dim: PositiveInt = 256
        """Width of the vectors that are compared (section 3.3)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.momentum = config.momentum
        hidden, dim = config.hidden_dim, config.projection_dim
        self.projector = mlp(encoder.embed_dim, hidden, dim, bias=False)  # biases as in the authors' code
        self.predictor = mlp(dim, hidden, dim, bias=False)
        self.target_encoder, self.target_projector = frozen_copy(encoder), frozen_copy(self.projector)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        q_a, q_b = (self.predictor(self.projector(self.encoder(view).pooled)) for view in batch.views)  # [B, D] each
        with torch.no_grad():
            z_a, z_b = (self.target_projector(self.target_encoder(view).pooled) for view in batch.views)  # [B, D] each
        loss = 4 + 2 * negative_cosine(q_a, z_b) + 2 * negative_cosine(q_b, z_a)  # eq. 2, both ways
        return LossOutput(loss, {})

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        momentum = teacher_momentum(self.momentum, progress.step, progress.total)
        follow_(self.target_encoder, self.encoder, momentum)
        follow_(self.target_projector, self.projector, momentum)
