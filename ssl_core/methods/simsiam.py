"""SimSiam: simple siamese learning (Chen & He, 2021, https://arxiv.org/abs/2011.10566).

Shapes: B samples on this worker, D projection width.
"""

from typing import Literal

from pydantic import PositiveInt
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.joint_embedding import negative_cosine
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.types import Batch, LossOutput, Progress


class SimSiam(Method):
    """Predict a view's vector from the other view, which gets no gradient; no negatives, no slow network."""

    view_kinds = ("global", "global")
    min_samples = 2  # BatchNorm in the heads
    constant_lr = ("predictor",)  # table 1 c: the predictor should keep up with the representations

    class Config(NamedConfig):
        name: Literal["simsiam"] = "simsiam"
        projection_dim: PositiveInt = 2048
        """Width of the projector, hidden layers and output (section 3)."""
        predictor_dim: PositiveInt = 512
        """Width of the predictor's hidden layer, a bottleneck of a quarter (section 3)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        dim = config.projection_dim
        # the last BatchNorm has neither scale nor offset, as in the authors' code
        self.projector = mlp(encoder.embed_dim, dim, dim, dim, last_norm="plain")
        self.predictor = mlp(dim, config.predictor_dim, dim)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        z_a, z_b = (self.projector(self.encoder(view).pooled) for view in batch.views)  # [B, D] each
        p_a, p_b = self.predictor(z_a), self.predictor(z_b)  # [B, D] each
        loss = (negative_cosine(p_a, z_b.detach()) + negative_cosine(p_b, z_a.detach())) / 2
        spread = normalize(z_a.detach().float(), dim=-1).std(0).mean() * z_a.shape[1] ** 0.5
        return LossOutput(loss, {"spread": spread})  # 1: over the whole sphere, 0: collapsed (figure 2, middle)
