"""Barlow Twins: redundancy reduction (Zbontar et al., 2021, https://arxiv.org/abs/2103.03230).

The loss is one of the whole batch, so every worker computes it from the gathered vectors. Micro-batches of
`train.accumulate` are batches of their own. Shapes: B samples on this worker, G on all workers, D projection width.
"""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.joint_embedding import barlow_twins
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.optimize.collectives import gather
from ssl_core.types import Batch, LossOutput, Progress


class BarlowTwins(Method):
    """Make the correlation of two views' vectors the identity: each number alike in both, no two numbers alike."""

    view_kinds = ("global", "global")
    min_samples = 2  # a correlation is over samples

    class Config(NamedConfig):
        name: Literal["barlow_twins"] = "barlow_twins"
        off_diagonal: PositiveFloat = 0.005
        """Weight of the redundancy terms, lambda (section 2.2)."""
        scale: PositiveFloat = 1.0
        """Factor of the loss, a sum of projection_dim squares and more: for optimizers that follow the gradient's size
        (sgd; biases and norms under lars). The authors' first code had 0.024; under adamw it hardly matters."""
        projection_dim: PositiveInt = 8192
        """Width of the projector's three layers (section 2.2); more is better here (figure 4)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.off_diagonal, self.scale = config.off_diagonal, config.scale
        dim = config.projection_dim
        self.projector = mlp(encoder.embed_dim, dim, dim, dim, bias=False)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        z_a, z_b = (self.projector(self.encoder(view).pooled) for view in batch.views)  # [B, D] each
        loss = barlow_twins(gather(z_a), gather(z_b), off_diagonal=self.off_diagonal)
        return LossOutput(self.scale * loss, {})
