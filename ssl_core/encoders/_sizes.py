"""How large a transformer is, as config keys; free of torch, as `selfray show` reads it."""

from pydantic import PositiveInt

from ssl_core.config import NamedConfig


class TransformerConfig(NamedConfig):
    """Keys that say how large the transformer is."""

    dim: PositiveInt | None = None
    depth: PositiveInt | None = None
    heads: PositiveInt | None = None
    class_token: bool = False
    """Pool by a learned token that attends to all patches, instead of by their mean."""
