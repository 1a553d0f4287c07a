"""GPT: predict each token from those before it (Radford et al., 2018 and 2019, "Language models are unsupervised
multitask learners").

The output weights are those of the embedding (Press & Wolf, 2017, https://arxiv.org/abs/1608.05859). The mean is over
the tokens of the batch of all workers. Shapes: B texts, T tokens, D width.
"""

from typing import Literal

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import TokenEncoder
from ssl_core.losses.language import token_nll
from ssl_core.methods.base import Method
from ssl_core.optimize.collectives import mean_of
from ssl_core.types import Batch, LossOutput, Progress


class GPT(Method):
    """Predict each token of a text from those before it."""

    view_kinds = ("global",)
    encoder_type = TokenEncoder
    encoder: TokenEncoder
    reads_valid = True

    class Config(NamedConfig):
        name: Literal["gpt"] = "gpt"

    def __init__(self, config: Config, encoder: TokenEncoder):
        super().__init__(encoder)
        if not encoder.causal:
            raise ValueError("encoder.causal: method gpt predicts the next token, which this encoder sees; set it true")

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        ids, valid = batch.views[0], batch.valid_of(0)
        hidden = self.encoder.encode(self.encoder.embed(ids[:, :-1]))  # [B, T - 1, D]
        counts = valid[:, 1:] if valid is not None else ids.new_ones(()).bool().expand_as(ids[:, 1:])
        found = token_nll(
            hidden.flatten(0, 1), self.encoder.embedding.weight, ids[:, 1:].flatten(), counts.flatten()
        )  # sums over the tokens of this worker
        accuracy = mean_of(found.correct.float(), found.tokens)
        return LossOutput(mean_of(found.loss, found.tokens), {"accuracy": accuracy})
