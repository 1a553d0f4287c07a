"""Vision Transformer (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929) as MAE uses it (He et al., 2022).

Shapes: B samples, N patches of P values.
"""

from functools import partial
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from ssl_core.config import LocalPath
from ssl_core.encoders._patches import TransformerPatchEncoder
from ssl_core.encoders._published import load_weights_
from ssl_core.encoders._sizes import TransformerConfig
from ssl_core.encoders._timm_names import from_timm
from ssl_core.spec import ViewSpec

SIZES = {  # dim, depth, heads: table 1 of the paper; DeiT (Touvron et al., 2021), table 1
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


class ViT(TransformerPatchEncoder):
    """Vision Transformer on square patches, from tiny to large; mean-pooled or with a class token; registers."""

    class Config(TransformerConfig):
        name: Literal["vit"] = "vit"
        size: Literal["tiny", "small", "base", "large"] = "tiny"
        """Sets dim, depth and heads, unless they are given."""
        patch_size: PositiveInt = 4
        """Side of a patch in pixels: 16 for 224 px views, 4 for 32 px."""
        weights: LocalPath | None = None
        """File with weights to start from (.safetensors, .pt, .pth), of timm's ViT or of this one; null: random ones.
        Positions that were learned need `positions: learned`. Nothing is downloaded."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        (channels, height, width), self.patch_size = spec.shape, config.patch_size
        self.build_(config, SIZES[config.size], self._grid(height, width), channels * self.patch_size**2)
        if config.weights is not None:
            learned, what = config.positions == "learned", f"encoder.size {config.size} as given"
            rename = partial(from_timm, position=self.position, grid=self.grid, learned=learned)
            load_weights_(self, config.weights, what, "head", rename)

    def grid_of(self, x: Tensor) -> tuple[int, ...]:
        """[B, C, H, W] -> (H / p, W / p)."""
        return self._grid(*x.shape[2:])

    def _grid(self, *sides: int) -> tuple[int, ...]:
        for side in sides:
            if side % self.patch_size:
                raise ValueError(f"encoder.patch_size: {self.patch_size} does not divide the view size {side}")
        return tuple(side // self.patch_size for side in sides)

    def patchify(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, N, P], each patch in the order C, row, column, as a convolution's weight."""
        tiles = x.unflatten(3, (-1, self.patch_size)).unflatten(2, (-1, self.patch_size))  # [B, C, h, p, w, p]
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # [B, N, P]

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, C, H, W]."""
        tiles = patches.unflatten(2, (-1, self.patch_size, self.patch_size)).unflatten(1, self.grid)
        return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)  # [B, C, h, p, w, p] -> [B, C, H, W]
