"""What self-distillation puts on an encoder: a head that scores prototypes, and a center against collapse.

Shapes: D encoder width, H bottleneck, K prototypes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, softmax

from ssl_core.optimize.collectives import mean_over_workers


class PrototypeHead(nn.Module):
    """Three layers, a unit vector, and its cosines with K prototypes (DINO, appendix C).

    The prototypes are the authors' weight-normed last layer whose gain stays 1.
    """

    def __init__(self, dim: int, hidden_dim: int, bottleneck_dim: int, num_prototypes: int):
        super().__init__()
        self.project = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, bottleneck_dim))
        nn.init.normal_(self.prototypes, std=bottleneck_dim**-0.5)
        for layer in self.project:
            if isinstance(layer, nn.Linear):
                # the authors' 0.02 at their width of 2048; a narrow head would start next to zero
                nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., K] float32."""
        z = normalize(self.project(x).float(), dim=-1)  # [..., H]
        with torch.autocast(x.device.type, enabled=False):  # bf16 cosines over 0.04 would be off by a tenth
            return linear(z, normalize(self.prototypes, dim=1))


class Center(nn.Module):
    """The mean of a teacher's scores over the batches of all workers, a moving average (DINO, eq. 4).

    Taken off the scores it keeps one prototype from winning all samples; scores count from the next step on.
    """

    mean: Tensor

    def __init__(self, num_prototypes: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(num_prototypes))
        self._fresh: list[Tensor] = []  # means of this optimizer step, one [K] per forward

    @torch.no_grad()
    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """[..., K] -> probabilities [..., K] float32."""
        scores = scores.float()
        if self.training:
            self._fresh.append(scores.flatten(0, -2).mean(0))
        return softmax((scores - self.mean) / temperature, dim=-1)

    @torch.no_grad()
    def follow_(self) -> None:
        """Take in the scores since the last call."""
        if self._fresh:
            self.mean.lerp_(mean_over_workers(torch.stack(self._fresh).mean(0)), 1 - self.momentum)
            self._fresh.clear()
