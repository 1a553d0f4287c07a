"""SimCLR: contrastive learning of two views (Chen et al., 2020, https://arxiv.org/abs/2002.05709).

Shapes: B samples on this worker, G samples on all workers, D projection width.
"""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.contrastive import nt_xent
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.optimize.collectives import gather, rank
from ssl_core.types import Batch, LossOutput, Progress


class SimCLR(Method):
    """Pull two views of a sample together, push every other sample of the global batch away."""

    view_kinds = ("global", "global")
    reads_valid = True
    min_samples = 2  # the other samples are the negatives

    class Config(NamedConfig):
        name: Literal["simclr"] = "simclr"
        temperature: PositiveFloat = 0.1
        """Softmax temperature: 0.1 on ImageNet (table 5), 0.5 on CIFAR-10 (B.9)."""
        hidden_dim: PositiveInt = 2048
        """Width of the projection head's hidden layer (section 4.2)."""
        projection_dim: PositiveInt = 128
        """Width of the vectors that are compared (section 4.2, figure 8)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.temperature = config.temperature
        self.projector = mlp(encoder.embed_dim, config.hidden_dim, config.projection_dim)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        both = self.encoder(*batch.together).pooled  # one pass, so BatchNorm sees both views
        z_a, z_b = normalize(self.projector(both).float(), dim=-1).chunk(2)  # [B, D] each
        first = rank() * len(z_a)  # where my samples start in the global batch
        loss = nt_xent(z_a, z_b, gather(z_a), gather(z_b), first=first, temperature=self.temperature)
        return LossOutput(loss, {"alignment": (z_a - z_b).square().sum(-1).mean().detach()})
