"""SimCSE: the same text twice, with different dropout (Gao et al., 2021, https://arxiv.org/abs/2104.08821).

Dropout is the only augmentation; here its draws are keyed by the sample, so that N workers compute what one does. Texts
of the batch that are equal are no negatives of each other. Shapes: B texts of this worker, G of all, D width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import TokenEncoder
from ssl_core.losses.contrastive import in_batch_nce
from ssl_core.methods.base import Method
from ssl_core.nn.dropout import keyed, set_dropout_
from ssl_core.optimize.collectives import gather, rank
from ssl_core.types import Batch, LossOutput, Progress


class SimCSE(Method):
    """Pull two passes of a text with different dropout together, push the other texts of the batch away."""

    view_kinds = ("global",)
    encoder_type = TokenEncoder
    encoder: TokenEncoder
    reads_valid = True
    min_samples = 2  # the other texts are the negatives

    class Config(NamedConfig):
        name: Literal["simcse"] = "simcse"
        temperature: PositiveFloat = 0.05
        """Softmax temperature (section 3)."""
        dropout: Annotated[float, Field(gt=0, lt=1)] = 0.1
        """Of the embeddings, and of what attention and perceptron add to them, as in BERT (table 2)."""

    def __init__(self, config: Config, encoder: TokenEncoder):
        super().__init__(encoder)
        set_dropout_(encoder, config.dropout)
        self.temperature = config.temperature
        width = encoder.embed_dim
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh())  # in training only (section 6.3, table 5)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        ids, valid = batch.views[0], batch.valid_of(0)
        twice = torch.cat([ids, ids]), None if valid is None else torch.cat([valid, valid])
        with keyed(batch.sample_id, progress, views=(0, 1)):
            pooled = self.encoder(*twice).pooled  # [2 B, D]
        z_a, z_b = normalize(self.head(pooled).float(), dim=-1).chunk(2)  # [B, D] each
        text = _hash(ids)  # [B]
        first = rank() * len(ids)
        equal = text[:, None] == gather(text)  # [B, G]
        loss = in_batch_nce(z_a, gather(z_b), first=first, temperature=self.temperature, ignore=equal)
        return LossOutput(loss, {"alignment": (z_a - z_b).square().sum(-1).mean().detach()})


def _hash(ids: Tensor) -> Tensor:
    """[B, T] -> [B] int64, equal for equal texts (a polynomial modulo 2^64, to which padding, 0, adds nothing)."""
    powers = (ids.new_ones(ids.shape[1]) * 6364136223846793005).cumprod(0)
    return (ids * powers).sum(1)
