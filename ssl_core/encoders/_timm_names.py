"""Weights of timm's vision transformers under our names.

Shapes: D width, P values of a patch, N patches, E class token and registers.
"""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor
from torch.nn.functional import interpolate

AHEAD = ("cls_token", "reg_token")


def from_timm(
    given: Mapping[str, Tensor], position: Tensor, grid: tuple[int, ...], *, learned: bool
) -> dict[str, Tensor]:
    """A state_dict of timm's ViT, or one under our names, as our ViT loads it.

    Positions of the class token and of registers, of which ours have none, are added to the tokens; those of patches
    are interpolated as timm does it where the file's views have another size.

    Args:
        position: [1, N, D] the encoder's own.
        grid: its patches along each axis.
        learned: whether it loads positions; fixed ones can only be those of the file.
    Raises:
        ValueError: the file's positions are not the encoder's fixed ones.
    """
    found = dict(given)
    if (weight := found.pop("patch_embed.proj.weight", None)) is not None:
        found["patch_embed.weight"] = weight.flatten(1)  # [D, P] of a convolution's [D, C, p, p]
        found["patch_embed.bias"] = found.pop("patch_embed.proj.bias")
    if (embedded := found.pop("pos_embed", None)) is not None:
        ahead = [name for name in AHEAD if name in found]
        counts = [found[name].shape[1] for name in ahead]
        extra = sum(counts) if isqrt(embedded.shape[1]) ** 2 != embedded.shape[1] else 0
        *prefixes, patches = embedded.split([*(counts if extra else []), embedded.shape[1] - extra], dim=1)
        found |= {name: found[name] + prefix for name, prefix in zip(ahead, prefixes, strict=False)}
        found["position"] = _resized(patches, grid)
    if not learned and "position" in found:
        theirs = found.pop("position")
        if theirs.shape != position.shape or not torch.allclose(theirs, position, atol=1e-5):
            raise ValueError("encoder.positions: the weights have other positions than fixed ones; take learned")
    return found


def _resized(patches: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Positions [1, N', D] of a square of patches -> [1, N, D] on a grid."""
    side = isqrt(patches.shape[1])
    if side**2 != patches.shape[1] or grid == (side, side):
        return patches  # no square: of another shape, which loading will say
    on_grid = patches.mT.unflatten(2, (side, side))
    return interpolate(on_grid, size=grid, mode="bicubic", antialias=True).flatten(2).mT
