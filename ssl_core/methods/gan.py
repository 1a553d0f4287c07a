"""GAN: a discriminator whose body is the encoder (Goodfellow et al., 2014; DCGAN: Radford et al., 2016).

https://arxiv.org/abs/1406.2661, https://arxiv.org/abs/1511.06434; section 5.1 of the second: the discriminator's maps
as features (`evaluate.layer` takes several). Both networks step at once, where the papers take turns: the generator's
gradient is that of its own loss, through the discriminator as it stands. Shapes: B samples, L latents.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.generative import discriminator_loss, generator_loss
from ssl_core.methods.base import Method
from ssl_core.nn.heads import ConvDecoder
from ssl_core.nn.norm import statistics_kept
from ssl_core.noise import keyed_normal, salt
from ssl_core.types import Batch, LossOutput, Progress

LATENT, PICTURE = 1, 2  # what a random draw is for


class GAN(Method):
    """Tell views from painted ones, while a generator learns to paint views that pass."""

    view_kinds = ("global",)
    min_samples = 2  # BatchNorm in the generator

    class Config(NamedConfig):
        name: Literal["gan"] = "gan"
        latent_dim: PositiveInt = 100
        """L, as in DCGAN."""
        generator_width: PositiveInt = 32
        """Channels of the generator at full size; smaller maps have up to 8 times as many."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.latent_dim = config.latent_dim
        self.classifier = nn.Linear(encoder.embed_dim, 1)
        self.generator = ConvDecoder(config.latent_dim, encoder.spec, config.generator_width)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        latent = keyed_normal(batch.sample_id, self.latent_dim, salt(progress.seed, progress.step, LATENT))
        painted = self.generator(latent)  # [B, *view_shape]
        shown = painted.detach().to(view.dtype).requires_grad_()
        real = self._judge(view)  # [B]; each kind by itself, so that BatchNorm sees them apart
        with statistics_kept(self.encoder):  # what is registered reads real views
            fake = self._judge(shown)
        loss, wanted = discriminator_loss(real, fake), generator_loss(fake)
        # where the generator is pulled to; the discriminator's own weights get nothing of this loss
        (pull,) = torch.autograd.grad(wanted, shown, retain_graph=True)
        generator = (painted * pull.float()).sum()
        told = {
            "generator_loss": wanted.detach(),
            "real_accuracy": (real.detach() > 0).float().mean(),
            "fake_accuracy": (fake.detach() <= 0).float().mean(),
        }
        return LossOutput(loss + generator - generator.detach(), told)

    def _judge(self, view: Tensor) -> Tensor:
        """Logits [B] of being real, float32."""
        logits: Tensor = self.classifier(self.encoder(view).pooled).float()[:, 0]
        return logits

    @torch.no_grad()
    def generate(self, sample_id: Tensor) -> Tensor:
        """Views painted from keyed latents: [B, *view_shape]."""
        painted: Tensor = self.generator(keyed_normal(sample_id, self.latent_dim, salt(0, PICTURE)))
        return painted
