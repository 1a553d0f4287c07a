"""A transformer on patches, whatever they are cut from: Dosovitskiy et al., 2021, as MAE uses it (He et al., 2022).

Positions are fixed sines and cosines on the grid of patches. Without dropout or stochastic depth: masked and
joint-embedding pre-training of these sizes does without. Parameter names are timm's.
Shapes: B samples, N patches of P values, K kept, E class tokens, D width.
"""

import torch
from torch import Tensor, nn

from ssl_core.encoders._sizes import TransformerConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.nn.transformer import Block, initialize_, sincos_positions
from ssl_core.types import Features


class TransformerPatchEncoder(PatchEncoder):
    """A subclass cuts patches (`patchify`, `unpatchify`) and calls `build_`."""

    position: Tensor

    def build_(
        self, config: TransformerConfig, size: tuple[int, int, int], grid: tuple[int, ...], patch_dim: int
    ) -> None:
        """Make the layers.

        Args:
            size: dim, depth, heads where the config gives none.
            grid: patches along each axis; N is the product.
            patch_dim: P.
        Raises:
            ValueError: sizes that do not fit together, with the config key.
        """
        dim, depth, heads = config.dim or size[0], config.depth or size[1], config.heads or size[2]
        if dim % heads:
            raise ValueError(f"encoder.heads: {heads} does not divide encoder.dim {dim}")
        if dim % (2 * len(grid)):
            raise ValueError(f"encoder.dim: {dim} is not a multiple of {2 * len(grid)}, which positions need")
        self.grid, self.embed_dim, self.patch_dim = grid, dim, patch_dim
        self.num_class_tokens = int(config.class_token)
        self.patch_embed = nn.Linear(patch_dim, dim)
        self.register_buffer("position", sincos_positions(dim, grid)[None], persistent=False)  # [1, N, D]
        self.num_tokens = self.position.shape[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.class_token else None
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        initialize_(self)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    def embed(self, patches: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None) -> Tensor:
        """[B, N, P] -> [B, N, D], positions added; where mask [B, N] is True, mask_token [D] stands for the patch."""
        embedded: Tensor = self.patch_embed(patches)
        if mask is not None and mask_token is not None:
            embedded = torch.where(mask[..., None], mask_token.to(embedded.dtype), embedded)
        return embedded + self.position

    def encode(self, tokens: Tensor) -> Tensor:
        """[B, K, D], any K <= N -> [B, E + K, D], the class token first where there is one."""
        encoded: Tensor = self.norm(self.blocks(self._with_class_token(tokens)))
        return encoded

    def encode_layers(self, tokens: Tensor) -> list[Tensor]:
        """As `encode`, but the outputs of all blocks from first to last, none of them normalized."""
        outputs, tokens = list[Tensor](), self._with_class_token(tokens)
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        return outputs

    def _with_class_token(self, tokens: Tensor) -> Tensor:
        if self.cls_token is None:
            return tokens
        # shape, not len(): an exported program would take only this batch's size
        return torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)  # [B, 1 + K, D]

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """[B, *view_shape] -> pooled [B, D], tokens [B, N, D]."""
        return self._features(self.encode(self.embed(self.patchify(x))))

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        """Of the blocks, each normalized as the last one is."""
        return [self._features(self.norm(each)) for each in self.encode_layers(self.embed(self.patchify(x)))]

    def _features(self, encoded: Tensor) -> Features:
        """[B, E + N, D] -> pooled [B, D], tokens [B, N, D]."""
        tokens = encoded[:, self.num_class_tokens :]
        return Features(pooled=encoded[:, 0] if self.num_class_tokens else tokens.mean(1), tokens=tokens)
