"""Relative position: tell where a patch lies around another one (Doersch et al., 2015, https://arxiv.org/abs/1505.05192).

Patches are gray, in place of the paper's dropping of two channels: lenses shift colors apart by the place in the image,
which would tell the answer. Shapes: B samples, t side of a patch, D encoder width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch.nn.functional import cross_entropy, interpolate

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder, PatchEncoder
from ssl_core.methods.base import Method
from ssl_core.nn.heads import mlp
from ssl_core.nn.tiles import cut_tiles, standardized
from ssl_core.noise import keyed_below, salt
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress

TILES, NEIGHBOR = 1, 2  # what a random draw is for
GRID, MIDDLE, NEIGHBORS = 3, 4, 8


class RelativePosition(Method):
    """Tell where a patch lies around another one, of eight places."""

    view_kinds = ("global",)
    axes = IMAGE_AXES

    class Config(NamedConfig):
        name: Literal["relative_position"] = "relative_position"
        gap: Annotated[float, Field(ge=0, lt=1)] = 0.3
        """Share of a cell's side by which a patch is smaller, and may move: the gap and the jitter of the paper."""
        hidden_dim: PositiveInt = 1024

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        sides = encoder.spec.shape[1:]
        self.size = round((1 - config.gap) * (min(sides) // GRID))
        if self.size < 2:
            raise ValueError(
                f"method.gap: patches of views of {sides[0]} x {sides[1]} px would have {self.size} px; lower it"
            )
        self.enlarged = tuple(sides) if isinstance(encoder, PatchEncoder) else None
        self.classifier = mlp(2 * encoder.embed_dim, config.hidden_dim, NEIGHBORS)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        seed, step = progress.seed, progress.step
        tiles = cut_tiles(batch.views[0], GRID, self.size, batch.sample_id, salt(seed, step, TILES))  # [B, 9, C, t, t]
        gray = standardized(tiles.mean(2, keepdim=True)).to(tiles.dtype).expand_as(tiles)
        column = torch.zeros(1, dtype=torch.int64, device=batch.sample_id.device)
        answer = keyed_below(batch.sample_id, column, NEIGHBORS, salt(seed, step, NEIGHBOR))[:, 0]  # [B]
        place = answer + (answer >= MIDDLE)  # [B], of the nine but the middle
        row = torch.arange(len(answer), device=answer.device)
        shown = torch.cat([gray[:, MIDDLE], gray[row, place]])  # [2B, C, t, t]
        if self.enlarged:
            shown = interpolate(shown, size=self.enlarged, mode="bilinear")
        both = torch.cat(self.encoder(shown).pooled.chunk(2), dim=1)  # [B, 2D]
        logits = self.classifier(both).float()  # [B, 8]
        accuracy = (logits.detach().argmax(1) == answer).float().mean()
        return LossOutput(cross_entropy(logits, answer), {"accuracy": accuracy})
