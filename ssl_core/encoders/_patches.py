"""A transformer on patches, whatever they are cut from: Dosovitskiy et al., 2021, as MAE uses it (He et al., 2022).

Positions are fixed sines and cosines on the grid of patches, or learned. Views of another size than the encoder was
built for see them interpolated (DINO: Caron et al., 2021). Without dropout or stochastic depth: masked and
joint-embedding pre-training of these sizes does without. Parameter names are timm's.
Shapes: B samples, N patches of P values, K kept, R registers, E class token and registers, D width.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

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
        self.num_class_tokens = int(config.class_token) + config.registers
        self.patch_embed = nn.Linear(patch_dim, dim)
        if config.positions == "learned":
            self.position = nn.Parameter(torch.zeros(1, prod(grid), dim))
        else:
            self.register_buffer("position", sincos_positions(dim, grid)[None], persistent=False)  # [1, N, D]
        self.num_tokens = self.position.shape[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, config.registers, dim)) if config.registers else None
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        initialize_(self)
        for learned in (self.cls_token, self.reg_token, self.position):
            if isinstance(learned, nn.Parameter):
                nn.init.normal_(learned, std=0.02)

    def embed(
        self,
        patches: Tensor,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
        grid: tuple[int, ...] | None = None,
    ) -> Tensor:
        """[B, N, P] -> [B, N, D], positions added; where mask [B, N] is True, mask_token [D] stands for the patch."""
        embedded: Tensor = self.patch_embed(patches)
        if mask is not None and mask_token is not None:
            embedded = torch.where(mask[..., None], mask_token.to(embedded.dtype), embedded)
        return embedded + (self.position if grid in (None, self.grid) else self._positions_on(grid))

    def _positions_on(self, grid: tuple[int, ...]) -> Tensor:
        """Positions on another grid that spans the same view: [1, N', D]."""
        on_grid = self.position.mT.unflatten(2, self.grid)  # [1, D, *self.grid]
        mode = "linear" if len(grid) == 1 else "bicubic"
        return interpolate(on_grid, size=grid, mode=mode, align_corners=False).flatten(2).mT

    def encode(self, tokens: Tensor) -> Tensor:
        """[B, K, D], any K -> [B, E + K, D]: the class token, registers, patches."""
        encoded: Tensor = self.norm(self.blocks(self._with_class_tokens(tokens)))
        return encoded

    def encode_layers(self, tokens: Tensor) -> list[Tensor]:
        """As `encode`, but the outputs of all blocks from first to last, none of them normalized."""
        outputs, tokens = list[Tensor](), self._with_class_tokens(tokens)
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        return outputs

    def _with_class_tokens(self, tokens: Tensor) -> Tensor:
        ahead = [token for token in (self.cls_token, self.reg_token) if token is not None]
        if not ahead:
            return tokens
        # shape, not len(): an exported program would take only this batch's size
        return torch.cat([*(token.expand(tokens.shape[0], -1, -1) for token in ahead), tokens], dim=1)  # [B, E + K, D]

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """[B, *shape] of any size that patches divide -> pooled [B, D], tokens [B, N, D]."""
        return self.features_of(self.encode(self._embedded(x)))

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        """Of the blocks, each normalized as the last one is."""
        return [self.features_of(self.norm(each)) for each in self.encode_layers(self._embedded(x))]

    def _embedded(self, x: Tensor) -> Tensor:
        grid = self.grid_of(x)  # first: it says what does not fit
        return self.embed(self.patchify(x), grid=grid)

    def features_of(self, encoded: Tensor) -> Features:
        """[B, E + N, D] -> pooled [B, D], tokens [B, N, D]."""
        tokens = encoded[:, self.num_class_tokens :]
        return Features(pooled=tokens.mean(1) if self.cls_token is None else encoded[:, 0], tokens=tokens)
