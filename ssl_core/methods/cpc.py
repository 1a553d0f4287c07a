"""CPC of images: predict the patches below from those above (van den Oord et al., 2018; v2: Henaff et al., 2020).

https://arxiv.org/abs/1807.03748 and https://arxiv.org/abs/1905.09272. Overlapping patches are encoded one by one, a
context sees the rows down to its own, and the patch some rows further down is told from all patches of the batch.
The rows that overlap with the context's last one are not asked for. The authors take layer norm in the encoder, since
BatchNorm lets patches see each other; with a `vit` there is none.
Shapes: B samples, G samples on all workers, h x w patches of an image, D encoder width, T width of what is compared.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder, PatchEncoder
from ssl_core.losses.cpc import rows_below
from ssl_core.methods.base import Method
from ssl_core.nn.lab import gray_of
from ssl_core.nn.rows import RowContext
from ssl_core.noise import keyed_chance, salt
from ssl_core.optimize.collectives import gather, rank
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress

GRAY = 1  # what a random draw is for


class CPC(Method):
    """Predict the patches of an image's lower rows from its upper rows, against the patches of all images."""

    view_kinds = ("global",)
    axes = IMAGE_AXES

    class Config(NamedConfig):
        name: Literal["cpc"] = "cpc"
        patch: PositiveInt = 8
        """Side of a patch in pixels (the paper: 64 of 256, in v2 80 of 240)."""
        stride: PositiveInt = 4
        """Pixels from one patch to the next; half a patch, as in the paper, makes them overlap."""
        steps: PositiveInt = 3
        """Rows that are predicted, from the first that overlaps with nothing of the context's own."""
        gray: Annotated[float, Field(ge=0, le=1)] = 0.25
        """Share of patches without color, drawn one by one: color alone would tell the image (v2, section 4)."""
        context_dim: PositiveInt = 256
        """Width inside the context's blocks (v2, appendix)."""
        context_depth: PositiveInt = 5
        """Blocks of the context; each sees a row further up (v2, appendix)."""
        target_dim: PositiveInt = 64
        """T (v2, appendix)."""
        scale: PositiveFloat = 0.1
        """Of the products that are compared (v2, appendix)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.config = config
        channels, *sides = encoder.spec.shape
        self.grid = tuple((side - config.patch) // config.stride + 1 for side in sides)
        self.ignored = -(-config.patch // config.stride) - 1  # rows below that share pixels with the context's last one
        if min(sides) < config.patch:
            raise ValueError(f"method.patch: {config.patch} px do not fit into views of {sides[0]} x {sides[1]} px")
        if self.ignored + 1 >= self.grid[0]:
            raise ValueError(
                f"method.stride: {self.grid[0]} rows of patches of {config.patch} px, {config.stride} px apart, leave "
                "none to predict; take smaller patches or a larger view"
            )
        if config.gray and channels != 3:
            raise ValueError(f"method.gray: views of {channels} channels have no color to drop; set it to 0")
        if isinstance(encoder, PatchEncoder):
            encoder.grid_of(torch.empty(1, channels, config.patch, config.patch, device="meta"))
        dim = encoder.embed_dim
        self.ahead = range(self.ignored + 1, min(self.ignored + 1 + config.steps, self.grid[0]))
        self.context = RowContext(dim, config.context_dim, config.context_depth)
        self.predict = nn.ModuleList(nn.Conv2d(dim, config.target_dim, 1) for _ in self.ahead)
        self.target = nn.Conv2d(dim, config.target_dim, 1)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        patches = self._patches(view, batch.sample_id, salt(progress.seed, progress.step, GRAY))  # [B h w, C, p, p]
        z = self.encoder(patches).pooled.unflatten(0, (len(view), -1)).mT.unflatten(2, self.grid)  # [B, D, h, w]
        context, targets = self.context(z), gather(self.target(z).permute(0, 2, 3, 1))  # targets [G, h, w, T]
        first = rank() * len(view)  # where my samples start in the global batch
        losses = []
        for ahead, predict in zip(self.ahead, self.predict, strict=True):
            predicted = self.config.scale * predict(context).permute(0, 2, 3, 1)  # [B, h, w, T]
            losses.append(rows_below(predicted, targets, ahead=ahead, first=first))
        return LossOutput(torch.stack(losses).mean(), {"nearest_row_loss": losses[0].detach()})

    def _patches(self, view: Tensor, sample_id: Tensor, key: int) -> Tensor:
        """[B, C, H, W] -> [B h w, C, p, p], row by row, some of them without color."""
        size, stride = self.config.patch, self.config.stride
        cut = view.unfold(2, size, stride).unfold(3, size, stride)  # [B, C, h, w, p, p]
        patches = cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        if not self.config.gray:
            return patches
        number = torch.arange(self.grid[0] * self.grid[1], device=view.device)
        drops = keyed_chance(sample_id, number, self.config.gray, key).flatten()  # [B h w]
        return torch.where(drops[:, None, None, None], gray_of(patches), patches)
