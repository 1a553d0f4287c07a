"""A transformer over the tokens of a text, bidirectional or causal, with rotary positions.

Bidirectional: the architecture of ModernBERT with all layers global (Warner et al., 2024,
https://arxiv.org/abs/2412.13663); causal: that of Llama (Touvron et al., 2023, https://arxiv.org/abs/2302.13971).
Shapes: B texts, T tokens, D width.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import TokenEncoder
from ssl_core.nn.dropout import KeyedDropout
from ssl_core.nn.rotary import Cache, RotaryBlock, initialize_language_, norm, rotary
from ssl_core.spec import ViewSpec
from ssl_core.types import Features


class TextTransformer(TokenEncoder):
    """Pre-norm transformer over tokens with rotary positions, bidirectional (ModernBERT) or causal (Llama)."""

    class Config(NamedConfig):
        name: Literal["text_transformer"] = "text_transformer"
        dim: PositiveInt = 128
        """D; with depth, heads: 128, 4, 4 are 1 million parameters, 768, 12, 12 are 110 million."""
        depth: PositiveInt = 4
        heads: PositiveInt = 4
        hidden_dim: PositiveInt | None = None
        """Width of the gated perceptrons; null: 8 / 3 of dim, as many weights as a plain one of 4 * dim."""
        causal: bool = False
        """Each token sees only those before it: for `gpt`, and for generation."""
        pooling: Literal["mean", "first", "last"] = "mean"
        """The vector of a text: the mean of its tokens, or its first or last one."""
        rope_base: PositiveFloat = 10_000.0
        """Longest wavelength of the positions / 2 pi."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        if config.dim % (2 * config.heads):
            raise ValueError(f"encoder.heads: dim {config.dim} does not split into {config.heads} heads of even width")
        if config.causal and config.pooling == "first":
            raise ValueError("encoder.pooling: a causal encoder's first token sees nothing else; take mean or last")
        self.config, self.causal, self.embed_dim = config, config.causal, config.dim
        hidden = config.hidden_dim or -(-config.dim * 8 // 3 // 16) * 16
        self.embedding = nn.Embedding(spec.num_ids, config.dim)
        self.embedding_norm = nn.Identity() if config.causal else norm(config.dim, causal=False)
        self.drop = KeyedDropout(0.0, layer=2 * config.depth)
        self.blocks = nn.ModuleList(
            RotaryBlock(config.dim, config.heads, hidden, causal=config.causal, index=index)
            for index in range(config.depth)
        )
        self.norm = norm(config.dim, causal=config.causal)
        initialize_language_(self.blocks, self.embedding)

    def embed(self, ids: Tensor) -> Tensor:
        """[B, T] -> [B, T, D]; positions come in with the attention."""
        x: Tensor = self.drop(self.embedding_norm(self.embedding(ids)))
        return x

    def encode(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        return self._run(tokens, valid)[-1]

    def encode_layers(self, tokens: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        return self._run(tokens, valid)[:-1]

    def _run(self, tokens: Tensor, valid: Tensor | None) -> list[Tensor]:
        """The outputs of all blocks, and the last one normalized."""
        turn = rotary(torch.arange(tokens.shape[1], device=tokens.device), self._head_dim, self.config.rope_base)
        # padding lies behind the text, where a causal token does not look
        mask = None if valid is None or self.causal else valid[:, None, None, :]
        outputs = list[Tensor]()
        for block in self.blocks:
            tokens = block(tokens, turn, mask)
            outputs.append(tokens)
        return [*outputs, self.norm(tokens)]

    @property
    def _head_dim(self) -> int:
        return self.config.dim // self.config.heads

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        return self._features(self.encode(self.embed(x), valid), valid)

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        *_, last = outputs = self._run(self.embed(x), valid)
        return [self._features(tokens, valid) for tokens in (*outputs[:-2], last)]

    def _features(self, tokens: Tensor, valid: Tensor | None) -> Features:
        if self.config.pooling == "first":
            return Features(tokens[:, 0], tokens)
        if valid is None:
            return Features(tokens.mean(1) if self.config.pooling == "mean" else tokens[:, -1], tokens)
        if self.config.pooling == "mean":
            count = valid.sum(1, keepdim=True).clamp(min=1)
            return Features((tokens * valid[..., None]).sum(1) / count, tokens)
        last = valid.sum(1).sub(1).clamp(min=0)[:, None, None].expand(-1, 1, tokens.shape[2])
        return Features(tokens.gather(1, last).squeeze(1), tokens)

    def empty_cache(self, batch: int, length: int) -> list[Cache]:
        like = self.embedding.weight
        shape = (batch, self.config.heads, length, self._head_dim)
        return [Cache(like.new_zeros(shape), like.new_zeros(shape)) for _ in self.blocks]

    def continue_(self, ids: Tensor, place: Tensor, cache: list[Cache]) -> Tensor:
        turn = rotary(place, self._head_dim, self.config.rope_base)
        seen = torch.arange(cache[0].key.shape[2], device=ids.device) <= place[:, None, :, None]  # [B, 1, T, T']
        tokens = self.embed(ids)
        for block, kept in zip(self.blocks, cache, strict=True):
            tokens = block(tokens, turn, seen, kept, place)
        out: Tensor = self.norm(tokens)
        return out
