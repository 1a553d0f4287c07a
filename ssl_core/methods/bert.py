"""BERT: tell the tokens that were masked (Devlin et al., 2019, https://arxiv.org/abs/1810.04805), without the task of
next sentences, which later models leave out (RoBERTa: Liu et al., 2019, https://arxiv.org/abs/1907.11692, section 4.2).

Of the picked tokens 80 % become [MASK], 10 % another token, 10 % stay, drawn for each token. Special tokens are neither
picked nor put in. The mean is over the picked tokens of the batch of all workers. Shapes: B texts, T tokens, D width,
V vocabulary.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import TokenEncoder
from ssl_core.losses.language import token_nll
from ssl_core.methods.base import Method
from ssl_core.noise import keyed_below, keyed_bits, salt
from ssl_core.optimize.collectives import mean_of
from ssl_core.tokenizers.base import MASK, NUM_SPECIAL
from ssl_core.types import Batch, LossOutput, Progress

PICK, FATE, OTHER = 0xBE27, 0xFA7E, 0x07E2
"""Tell the draws of one step apart."""
_24_BITS = (1 << 24) - 1


class BERT(Method):
    """Tell the tokens of a text that were masked."""

    view_kinds = ("global",)
    encoder_type = TokenEncoder
    encoder: TokenEncoder
    reads_valid = True

    class Config(NamedConfig):
        name: Literal["bert"] = "bert"
        mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.3
        """Share of tokens that are picked, at least one of a text: 0.15 in the paper, 0.3 in ModernBERT."""

    def __init__(self, config: Config, encoder: TokenEncoder):
        super().__init__(encoder)
        if encoder.causal:
            raise ValueError("encoder.causal: method bert fills gaps from both sides; set it false")
        self.mask_rate = config.mask_rate
        width = encoder.embed_dim
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))  # as the authors' code
        self.bias = nn.Parameter(torch.zeros(encoder.spec.num_ids))

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        ids, valid = batch.views[0], batch.valid_of(0)
        shown, picked = self._masked(ids, valid, batch.sample_id, progress)
        hidden = self.encoder.encode(self.encoder.embed(shown), valid)[picked]  # [N, D]
        counts = picked.new_ones(len(hidden))
        found = token_nll(self.head(hidden), self.encoder.embedding.weight, ids[picked], counts, self.bias)
        accuracy = mean_of(found.correct.float(), found.tokens)
        return LossOutput(mean_of(found.loss, found.tokens), {"accuracy": accuracy})

    def _masked(
        self, ids: Tensor, valid: Tensor | None, sample_id: Tensor, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """ids [B, T] -> what the encoder is shown [B, T], and which tokens it has to tell [B, T] bool."""
        place = torch.arange(ids.shape[1], device=ids.device)
        pick, fate, other = (salt(progress.seed, progress.step, what) for what in (PICK, FATE, OTHER))
        text = ids >= NUM_SPECIAL if valid is None else valid & (ids >= NUM_SPECIAL)
        chance = (keyed_bits(sample_id, place, pick) & _24_BITS).masked_fill(~text, _24_BITS + 1)  # [B, T]
        picked = text & ((chance < self.mask_rate * (1 << 24)) | (chance == chance.amin(1, keepdim=True)))
        tenth = keyed_below(sample_id, place, 10, fate)  # [B, T]
        another = NUM_SPECIAL + keyed_below(sample_id, place, self.encoder.spec.num_ids - NUM_SPECIAL, other)
        changed = torch.where(tenth == 8, another, torch.where(tenth == 9, ids, MASK))
        return torch.where(picked, changed, ids), picked
