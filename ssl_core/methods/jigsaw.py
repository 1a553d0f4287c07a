"""Jigsaw: tell in which order the tiles of an image are shown (Noroozi & Favaro, 2016, https://arxiv.org/abs/1603.09246).

Each tile is encoded by itself, as in the paper; where an encoder reads one size only (a transformer on patches), tiles
are enlarged to it. Shapes: B samples, g tiles a side, T = g * g tiles, t side of a tile, D encoder width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder, PatchEncoder
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.nn.permutations import far_apart
from ssl_core.nn.tiles import cut_tiles, standardized
from ssl_core.noise import keyed_below, salt
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress

TILES, ORDER = 1, 2  # what a random draw is for


class Jigsaw(Method):
    """Tell in which order the tiles of an image are shown."""

    view_kinds = ("global",)
    axes = IMAGE_AXES
    orders: Tensor

    class Config(NamedConfig):
        name: Literal["jigsaw"] = "jigsaw"
        grid: Annotated[int, Field(ge=2, le=3)] = 3
        """Tiles a side; 2 suits small images."""
        gap: Annotated[float, Field(ge=0, lt=1)] = 0.15
        """Share of a cell's side by which a tile is smaller, and may move (the paper: 64 of 75 pixels)."""
        num_orders: PositiveInt = 100
        """Permutations told apart, as far from each other as can be; at most all there are."""
        hidden_dim: PositiveInt = 1024

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        sides = encoder.spec.shape[1:]
        cell = min(sides) // config.grid
        self.grid, self.size = config.grid, round((1 - config.gap) * cell)
        if any(side % config.grid for side in sides) or self.size < 2:
            raise ValueError(
                f"method.grid: {config.grid} tiles a side do not divide views of {sides[0]} x {sides[1]} px into tiles "
                "of 2 px or more; take another grid or other views"
            )
        orders = far_apart(config.grid**2, config.num_orders)
        self.register_buffer("orders", torch.from_numpy(orders), persistent=False)  # [num_orders, T]
        self.enlarged = tuple(sides) if isinstance(encoder, PatchEncoder) else None
        self.classifier = mlp(config.grid**2 * encoder.embed_dim, config.hidden_dim, len(orders))

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        seed, step = progress.seed, progress.step
        tiles = cut_tiles(batch.views[0], self.grid, self.size, batch.sample_id, salt(seed, step, TILES))
        column = torch.zeros(1, dtype=torch.int64, device=batch.sample_id.device)
        order = keyed_below(batch.sample_id, column, len(self.orders), salt(seed, step, ORDER))[:, 0]  # [B]
        places = self.orders[order][:, :, None, None, None].expand_as(tiles)  # [B, T, C, t, t]
        shown = standardized(tiles.gather(1, places)).flatten(0, 1).to(tiles.dtype)  # [B * T, C, t, t]
        if self.enlarged:
            shown = interpolate(shown, size=self.enlarged, mode="bilinear")
        features = self.encoder(shown).pooled.unflatten(0, (len(order), -1)).flatten(1)  # [B, T * D]
        logits = self.classifier(features).float()  # [B, num_orders]
        accuracy = (logits.detach().argmax(1) == order).float().mean()
        return LossOutput(cross_entropy(logits, order), {"accuracy": accuracy})
