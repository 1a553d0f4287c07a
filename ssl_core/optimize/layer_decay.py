"""Layer-wise learning rates for fine-tuning: the nearer to the input, the smaller.

Clark et al., 2020 (ELECTRA, section 3.1 and appendix B, https://arxiv.org/abs/2003.10555), as used by He et al., 2022
(MAE, appendix A.2, https://arxiv.org/abs/2111.06377).
"""

from torch import nn

from ssl_core.methods.base import Method


def lr_scales(method: Method, decay: float) -> dict[str, float]:
    """Parameter name -> decay^(L - l): l counts the encoder's L layers from the input, heads have l = L.

    A layer is an entry of `Encoder.layers()` that holds a matrix. Norms between two layers go with the next one,
    those after the last with the head, and what belongs to no entry (class tokens, positions) with the first:
    on a ViT these are the groups of MAE's published code.

    Args:
        decay: factor from one layer to the one below it, in (0, 1]; MAE takes 0.65 to 0.75.
    """
    depth: dict[nn.Parameter, int] = {}
    layer = 0
    for part in method.encoder.layers():
        own = [p for p in part.parameters() if p not in depth]
        depth |= dict.fromkeys(own, layer)
        layer += any(p.ndim > 1 for p in own)
    inside = set(method.encoder.parameters())
    of = {name: depth.get(p, 0) if p in inside else layer for name, p in method.named_parameters()}
    return {name: decay ** (layer - number) for name, number in of.items()}
