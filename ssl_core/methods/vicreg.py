"""VICReg: variance, invariance, covariance (Bardes et al., 2022, https://arxiv.org/abs/2105.04906).

Variance and covariance are over the samples of all workers. Micro-batches of `train.accumulate` are batches of their
own. Shapes: B samples on this worker, D width of the expander.
"""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.joint_embedding import vicreg
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.optimize.collectives import gather
from ssl_core.types import Batch, LossOutput, Progress


class VICReg(Method):
    """Pull two views together while every number varies over the batch and no two numbers vary together."""

    view_kinds = ("global", "global")
    min_samples = 2  # a variance is over samples

    class Config(NamedConfig):
        name: Literal["vicreg"] = "vicreg"
        invariance: PositiveFloat = 25.0
        """Weight of the distance between views, lambda (section 4.2)."""
        variance: PositiveFloat = 25.0
        """Weight of the lack of variance, mu (section 4.2)."""
        covariance: NonNegativeFloat = 1.0
        """Weight of the covariances, nu (section 4.2)."""
        projection_dim: PositiveInt = 8192
        """Width of the expander's three layers (section 4.2)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.weights = config.invariance, config.variance, config.covariance
        dim = config.projection_dim
        self.projector = mlp(encoder.embed_dim, dim, dim, dim, bias=False)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        z_a, z_b = (self.projector(self.encoder(view).pooled) for view in batch.views)  # [B, D] each
        terms = vicreg(z_a, z_b, gather(z_a), gather(z_b))
        invariance, variance, covariance = self.weights
        loss = invariance * terms.invariance + variance * terms.variance + covariance * terms.covariance  # eq. 6
        return LossOutput(loss, {name: term.detach() for name, term in terms._asdict().items()})
