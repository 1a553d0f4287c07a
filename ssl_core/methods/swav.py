"""SwAV: swapped assignments between views (Caron et al., 2020, https://arxiv.org/abs/2006.09882).

Two large crops are assigned to prototypes, all prototypes used alike by the batch of all workers; every other crop
predicts the assignment. The authors' queue is each worker's own; here it holds the newest vectors of the
global batch, so that N workers compute what one does, and each worker brings its share of it to the assignment.
Shapes: V views, B samples on this worker, Q queue entries, D projection width, K prototypes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.self_distillation import across_views
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.nn.queue import enqueue_
from ssl_core.nn.sinkhorn import sinkhorn
from ssl_core.optimize.collectives import gather, rank, world_size
from ssl_core.types import Batch, LossOutput, Progress

Share = Annotated[float, Field(ge=0, le=1)]


class SwAV(Method):
    """Predict from one crop to which prototypes another crop of the sample is assigned."""

    view_kinds = ("global", "global")
    mixes_specs = True
    min_samples = 2  # one sample would be assigned to all prototypes alike
    queue: Tensor
    next_slot: Tensor
    num_queued: Tensor

    class Config(NamedConfig):
        name: Literal["swav"] = "swav"
        num_local: NonNegativeInt = 6
        """Small crops beside the two large ones, from `views.local` (appendix A.3)."""
        num_prototypes: Annotated[int, Field(ge=2)] = 3000
        """K (section 4.4): an order of magnitude more than classes."""
        temperature: PositiveFloat = 0.1
        """Of the predictions (appendix A.1)."""
        epsilon: PositiveFloat = 0.05
        """Of the assignments: lower is sharper (appendix A.1)."""
        iterations: PositiveInt = 3
        """Of Sinkhorn and Knopp (section 3.1)."""
        queue_size: NonNegativeInt = 0
        """Earlier vectors of each large view that take part in the assignment, for batches smaller than the prototypes
        (section 3.1: 3840 for a batch of 256); 0: none."""
        queue_start: Share = 0.15
        """They do after this share of training, once the queue is full; earlier vectors change too fast (A.2)."""
        freeze_fraction: Share = 0.01
        """Share of training in which prototypes stand still (the authors' code: the first epoch)."""
        hidden_dim: PositiveInt = 2048
        """Width of the projection head's hidden layer (appendix A.1)."""
        projection_dim: PositiveInt = 128
        """D (appendix A.1)."""

    @classmethod
    def kinds(cls, config: NamedConfig) -> tuple[str, ...]:
        assert isinstance(config, cls.Config)
        return ("global", "global", *("local",) * config.num_local)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.config = config
        self.projector = mlp(encoder.embed_dim, config.hidden_dim, config.projection_dim)
        self.prototypes = nn.Parameter(torch.empty(config.num_prototypes, config.projection_dim))
        nn.init.normal_(self.prototypes)
        self._normalize_prototypes()
        self.register_buffer("queue", torch.zeros(config.queue_size, 2 * config.projection_dim))  # both views' vectors
        self.register_buffer("next_slot", torch.tensor(0))
        self.register_buffer("num_queued", torch.tensor(0))
        self._fresh: list[Tensor] = []  # vectors of this optimizer step, one [B, 2 D] per forward

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        pooled = [self.encoder(torch.cat(views)).pooled for views in (batch.views[:2], batch.views[2:]) if views]
        z = normalize(self.projector(torch.cat(pooled)).float(), dim=1)  # [V B, D]
        with torch.autocast(z.device.type, enabled=False):  # bf16 scores over 0.05 would be off by hundredths
            scores = linear(z, self.prototypes).unflatten(0, (len(batch.views), -1))  # [V, B, K]
        codes = torch.stack([self._codes(scores[view].detach(), view, progress) for view in range(2)])  # [2, B, K]
        if self.training and len(self.queue):
            self._fresh.append(torch.cat(z.detach().chunk(len(batch.views))[:2], dim=1))
        return LossOutput(across_views(codes, scores, temperature=self.config.temperature), {})

    def _codes(self, scores: Tensor, view: int, progress: Progress) -> Tensor:
        """Scores [B, K] of one of the large views -> its assignment [B, K] among those of all workers and the queue."""
        counts, rows = None, scores
        if len(self.queue) and progress.fraction >= self.config.queue_start:
            vectors = self.queue.chunk(2, dim=1)[view].tensor_split(world_size())[rank()]  # [Q / W, D] my share
            full = self.num_queued == len(self.queue)
            rows = torch.cat([scores, linear(vectors, self.prototypes.detach())])  # [B + Q / W, K]
            counts = torch.cat([torch.ones_like(scores[:, 0], dtype=torch.bool), full.expand(len(vectors))])
        codes = sinkhorn(rows, temperature=self.config.epsilon, iterations=self.config.iterations, counts=counts)
        return codes[: len(scores)]

    def before_step(self, progress: Progress) -> None:
        if progress.fraction < self.config.freeze_fraction:
            self.prototypes.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        self._normalize_prototypes()
        if self._fresh:
            vectors = torch.cat([gather(z) for z in self._fresh])
            enqueue_(self.queue, self.next_slot, vectors)
            self.num_queued.add_(len(vectors)).clamp_(max=len(self.queue))
            self._fresh.clear()

    @torch.no_grad()
    def _normalize_prototypes(self) -> None:
        """After each change, so that they are unit vectors in every forward."""
        self.prototypes.div_(self.prototypes.norm(dim=1, keepdim=True))
