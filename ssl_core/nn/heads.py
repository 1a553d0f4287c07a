"""Small networks that sit on an encoder during pre-training and are thrown away after it.

Shapes: B samples, N patches of P values, K kept, M hidden, E class tokens, D encoder width.
"""

from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ssl_core.nn.masking import take
from ssl_core.nn.norm import BatchNorm1d, BatchNorm2d
from ssl_core.nn.transformer import Block, initialize_, sincos_positions
from ssl_core.spec import IMAGE_AXES, MEL_AXES, SERIES_AXES, ViewSpec


def mlp(
    *widths: int, batch_norm: bool = True, last_norm: Literal["affine", "plain"] | None = None, bias: bool = True
) -> nn.Sequential:
    """Linear -> BatchNorm -> ReLU between every pair of widths; the last layer is Linear alone, or with BatchNorm.

    Args:
        widths: at least two: input, hidden ..., output.
        batch_norm: False leaves the hidden BatchNorm out (MoCo v2's head).
        last_norm: BatchNorm after the last layer, with scale and offset (NNCLR) or "plain", without (SimSiam).
        bias: of the last layer; False where the loss does not see it (VICReg). BatchNorm would take it out again.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        norm = [BatchNorm1d(after)] if batch_norm else []
        layers += [nn.Linear(before, after, bias=not batch_norm), *norm, nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=bias and last_norm is None))
    if last_norm is not None:
        layers.append(BatchNorm1d(widths[-1], affine=last_norm == "affine"))
    return nn.Sequential(*layers)


class MaskedDecoder(nn.Module):
    """Predict hidden patches from visible tokens (MAE, section 3).

    Args:
        token_dim: D, width of the encoder's tokens.
        dim, depth, heads: size of the decoder's own transformer.
        grid: token grid of the view, e.g. (8, 8); its product is N.
        patch_dim: P.
    """

    position: Tensor

    def __init__(self, token_dim: int, dim: int, depth: int, heads: int, grid: tuple[int, ...], patch_dim: int):
        super().__init__()
        self.shrink = nn.Linear(token_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("position", sincos_positions(dim, grid)[None], persistent=False)  # [1, N, dim]
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.predict = nn.Linear(dim, patch_dim)
        initialize_(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, seen: Tensor, kept: Tensor, hidden: Tensor) -> Tensor:
        """seen [B, E + K, D] (class tokens first), kept [B, K], hidden [B, M] -> [B, M, P] float32."""
        position = self.position.expand(len(seen), -1, -1)  # [B, N, dim]
        visible = self.shrink(seen)  # [B, E + K, dim]
        extra, patches = visible.tensor_split([visible.shape[1] - kept.shape[1]], dim=1)
        asked = self.mask_token + take(position, hidden)  # [B, M, dim]
        tokens = torch.cat([extra, patches + take(position, kept), asked], dim=1)  # [B, E + K + M, dim]
        answers = self.blocks(tokens)[:, -hidden.shape[1] :]  # [B, M, dim]
        predicted: Tensor = self.predict(self.norm(answers)).float()
        return predicted


class ConvDecoder(nn.Module):
    """Paint an image, a spectrogram or a series from a vector: a map of 4 a side or less, doubled until it is a view.

    Nearest-neighbor upsampling and a 3x3 convolution instead of a transposed one, which leaves
    checkerboards (Odena et al., 2016, https://distill.pub/2016/deconv-checkerboard).

    Args:
        latent_dim: width of the vector.
        spec: of the view: channels, then one or two axes.
        width: channels at full size; doubles with every halving, up to 8 times as many.
    Raises:
        ValueError: views of another kind.
    """

    def __init__(self, latent_dim: int, spec: ViewSpec, width: int):
        super().__init__()
        if spec.axes not in (IMAGE_AXES, MEL_AXES, SERIES_AXES) or spec.ragged:
            raise ValueError(
                f"method.name: its decoder paints images, spectrograms and series of one size; the views are {spec}"
            )
        conv, norm = (nn.Conv1d, BatchNorm1d) if spec.axes == SERIES_AXES else (nn.Conv2d, BatchNorm2d)
        channels, *size = spec.shape
        self.sizes = [tuple(size)]  # from full size down to the first map
        while max(self.sizes[-1]) > 4:
            self.sizes.append(tuple(-(-side // 2) for side in self.sizes[-1]))
        widths = [width * min(2**level, 8) for level in range(len(self.sizes))]
        self.sizes.reverse()
        widths.reverse()
        self.start = nn.Linear(latent_dim, widths[0] * prod(self.sizes[0]))
        self.stages = nn.ModuleList(
            nn.Sequential(conv(a, b, 3, padding=1, bias=False), norm(b), nn.ReLU(inplace=True))
            for a, b in zip([widths[0], *widths], widths, strict=False)
        )
        self.paint = conv(widths[-1], channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """[B, latent_dim] -> [B, *spec.shape] float32."""
        x = self.start(latent).unflatten(1, (-1, *self.sizes[0]))  # [B, width, *sizes[0]]
        for size, stage in zip(self.sizes, self.stages, strict=True):
            x = stage(interpolate(x, size=size) if x.shape[2:] != size else x)
        painted: Tensor = self.paint(x).float()
        return painted
