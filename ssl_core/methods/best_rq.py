"""BEST-RQ: tell the codes of masked stretches of sound (Chiu et al., 2022, https://arxiv.org/abs/2202.01855).

The codes come from a random projection and a random codebook that are never trained, so they cannot collapse. Inputs
are normalized per recording: without that, few codes are used (section 3.1). Shapes: B samples, N patches of P values,
F positions in time, K codes, Q width of a code.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import max_pool1d, normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.losses.language import token_nll
from ssl_core.methods.base import Method
from ssl_core.noise import keyed_bits, keyed_normal, salt
from ssl_core.optimize.collectives import mean_of, mean_over_workers
from ssl_core.types import Batch, LossOutput, Progress

START, NOISE = 1, 2  # what a random draw is for
_24_BITS = (1 << 24) - 1


class BestRQ(Method):
    """Tell which codes of a random codebook masked stretches have; nothing that makes the codes is trained."""

    view_kinds = ("global",)
    encoder_type = PatchEncoder
    encoder: PatchEncoder
    projection: Tensor
    codebook: Tensor

    class Config(NamedConfig):
        name: Literal["best_rq"] = "best_rq"
        num_codes: Annotated[int, Field(ge=2)] = 8192
        """K (section 4.1)."""
        code_dim: PositiveInt = 16
        """Q (section 4.1)."""
        start_rate: Annotated[float, Field(gt=0, lt=1)] = 0.15
        """Chance of a position in time to begin a masked stretch; at least one does (section 4.1: 0.01 of 10 ms)."""
        span: PositiveInt = 4
        """Positions of a stretch: patches along the last axis (section 4.1: 400 ms)."""
        noise: NonNegativeFloat = 0.1
        """Deviation of the noise that stands in a masked patch (section 3.1)."""

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(encoder)
        self.config = config
        if config.span >= encoder.grid[-1]:
            raise ValueError(f"method.span: {config.span} of {encoder.grid[-1]} positions would mask all; lower it")
        projection = torch.empty(encoder.patch_dim, config.code_dim)
        nn.init.xavier_uniform_(projection)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", normalize(torch.randn(config.num_codes, config.code_dim), dim=1))
        self.output = nn.Parameter(torch.empty(config.num_codes, encoder.embed_dim))
        nn.init.normal_(self.output, std=0.02)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        patches = self.encoder.patchify(batch.views[0])  # [B, N, P]
        mean, deviation = patches.mean((1, 2), keepdim=True), patches.std((1, 2), keepdim=True)
        codes = self._codes((patches - mean) / (deviation + 1e-5))  # [B, N]
        mask = self._mask(batch.sample_id, salt(progress.seed, progress.step, START))  # [B, N]
        key = salt(progress.seed, progress.step, NOISE)
        noise = keyed_normal(batch.sample_id, patches[0].numel(), key).view(patches.shape) * self.config.noise
        shown = torch.where(mask[..., None], noise.type_as(patches), patches)
        said = self.encoder.features_of(self.encoder.encode(self.encoder.embed(shown))).tokens  # [B, N, D]
        found = token_nll(said.flatten(0, 1), self.output, codes.flatten(), mask.flatten())
        # used: how many codes are in use, were all used alike; majority: what telling the commonest one would score
        share = mean_over_workers(codes.flatten().bincount(minlength=len(self.codebook)) / codes.numel())  # [K]
        return LossOutput(
            mean_of(found.loss, found.tokens),
            {
                "accuracy": mean_of(found.correct.float(), found.tokens),
                "majority": share.max(),
                "used_codes": torch.special.entr(share).sum().exp(),
            },
        )

    @torch.no_grad()
    def _codes(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, N], the nearest code of each patch."""
        with torch.autocast(patches.device.type, enabled=False):
            return (normalize(patches.float() @ self.projection, dim=-1) @ self.codebook.T).argmax(-1)

    def _mask(self, sample_id: Tensor, key: int) -> Tensor:
        """[B, N] bool: stretches in time, the same in all bands or channels."""
        *others, length = self.encoder.grid
        column = torch.arange(length, device=sample_id.device)
        chance = keyed_bits(sample_id, column, key) & _24_BITS  # [B, F]
        begins = (chance < self.config.start_rate * (1 << 24)) | (chance == chance.amin(1, keepdim=True))
        behind = nn.functional.pad(begins.float()[:, None], (self.config.span - 1, 0))
        masked = max_pool1d(behind, self.config.span, stride=1)[:, 0].bool()  # [B, F]
        return masked[:, None].expand(-1, int(torch.Size(others).numel()), -1).flatten(1)
