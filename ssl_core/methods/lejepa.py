"""LeJEPA: views predict each other while features stay an isotropic Gaussian (Balestriero & LeCun, 2025).

https://arxiv.org/abs/2511.08544. No teacher, no stopped gradients, no predictor: one weight balances two terms. Each
view's vector is drawn to the mean of the global views'; random projections, others at each step, hold all of
them to N(0, 1). Shapes: B samples on this worker, G on all, V views, D projection width, S projections.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.sigreg import characteristic, epps_pulley
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.noise import keyed_normal, salt
from ssl_core.optimize.collectives import mean_over_workers, world_size
from ssl_core.types import Batch, LossOutput, Progress

DIRECTIONS = 1  # what a random draw is for


class LeJEPA(Method):
    """Draw views to the mean of the global ones and features to an isotropic Gaussian."""

    view_kinds = ("global", "global")
    min_samples = 2  # the features' distribution is over samples
    mixes_specs = True

    class Config(NamedConfig):
        name: Literal["lejepa"] = "lejepa"
        num_local: NonNegativeInt = 0
        """Small views beside the two global ones, from `views.local`."""
        weight: Annotated[float, Field(ge=0, le=1)] = 0.05
        """Lambda: of the Gaussian term; the prediction has the rest."""
        num_projections: PositiveInt = 256
        """Random directions of a step."""
        hidden_dim: PositiveInt = 2048
        """Width of the projector's hidden layers."""
        projection_dim: PositiveInt = 64
        """D."""

    @classmethod
    def kinds(cls, config: NamedConfig) -> tuple[str, ...]:
        assert isinstance(config, cls.Config)
        return ("global", "global", *("local",) * config.num_local)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.weight, self.num_projections, self.dim = config.weight, config.num_projections, config.projection_dim
        self.projector = mlp(encoder.embed_dim, config.hidden_dim, config.hidden_dim, config.projection_dim)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        vectors = [self.encoder(torch.cat(views)).pooled for views in (batch.views[:2], batch.views[2:]) if views]
        z = self.projector(torch.cat(vectors)).float().unflatten(0, (len(batch.views), -1))  # [V, B, D]
        prediction = (z - z[:2].mean(0)).square().mean()
        gaussian = torch.stack([self._gaussian(view, progress) for view in z]).mean()
        loss = (1 - self.weight) * prediction + self.weight * gaussian
        return LossOutput(loss, {"prediction": prediction.detach(), "gaussian": gaussian.detach()})

    def _gaussian(self, z: Tensor, progress: Progress) -> Tensor:
        """SIGReg of one view's vectors [B, D], over the batch of all workers (algorithm 1): [] mean over directions."""
        number = torch.arange(self.num_projections, device=z.device)
        drawn = keyed_normal(number, self.dim, salt(progress.seed, progress.step, DIRECTIONS))  # [S, D]
        real, imaginary = characteristic(z, normalize(drawn, dim=1).T)
        means = mean_over_workers(torch.stack([real, imaginary]))  # [2, S, T]
        return epps_pulley(means[0], means[1], world_size() * len(z)).mean()
