"""How large a transformer is, as config keys; free of torch, as `selfray show` reads it."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from ssl_core.config import NamedConfig


class TransformerConfig(NamedConfig):
    """Keys that say how large the transformer is."""

    dim: PositiveInt | None = None
    depth: PositiveInt | None = None
    heads: PositiveInt | None = None
    class_token: bool = False
    """Pool by a learned token that attends to all patches, instead of by their mean."""
    registers: NonNegativeInt = 0
    """Learned tokens beside the patches that nobody reads: room for what concerns no patch (Darcet et al., 2024)."""
    positions: Literal["fixed", "learned"] = "fixed"
    """Sines and cosines, or parameters (Dosovitskiy et al., 2021). Views of other sizes see them interpolated."""
