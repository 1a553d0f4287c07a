"""VAE: variational autoencoder (Kingma & Welling, 2014, https://arxiv.org/abs/1312.6114) with one learned deviation.

Pixels are Gaussian with one deviation for all, at its optimum in closed form (sigma-VAE: Rybkin et al., 2021,
https://arxiv.org/abs/2006.13202), so nothing balances the two terms by hand. Sums are over pixels and latents,
means over the batch of all workers; the loss is divided by P. The encoder's pooled vector is what is registered: the
latent mean is a linear map of it. Shapes: B samples, P values of a view, L latents.
"""

from math import log, pi, prod
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.generative import gaussian_kl
from ssl_core.methods.base import Method
from ssl_core.nn.heads import ConvDecoder
from ssl_core.noise import keyed_normal, salt
from ssl_core.optimize.collectives import gather, mean_over_workers
from ssl_core.types import Batch, LossOutput, Progress

LATENT, PICTURE = 1, 2  # what a random draw is for
ACTIVE = 0.01
"""Variance over samples above which a latent mean is in use (Burda et al., 2016)."""
LEAST_VARIANCE = 1e-6


class VAE(Method):
    """Encode to a distribution of latents near a standard normal, and paint the view from a draw."""

    view_kinds = ("global",)
    min_samples = 2  # active latents are counted over samples

    class Config(NamedConfig):
        name: Literal["vae"] = "vae"
        latent_dim: PositiveInt = 64
        """L."""
        beta: NonNegativeFloat = 1.0
        """Weight of the divergence (beta-VAE: Higgins et al., 2017); 1 is the likelihood bound."""
        free_nats: NonNegativeFloat = 0.0
        """Divergence of a latent, mean over the batch, that costs nothing (Kingma et al., 2016)."""
        decoder_width: PositiveInt = 32
        """Channels of the decoder at full size; smaller maps have up to 8 times as many."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.beta, self.free_nats, self.latent_dim = config.beta, config.free_nats, config.latent_dim
        self.head = nn.Linear(encoder.embed_dim, 2 * config.latent_dim)
        self.decoder = ConvDecoder(config.latent_dim, encoder.spec, config.decoder_width)
        self.num_values = prod(encoder.spec.shape)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        mean, log_variance = self._latent(view)  # [B, L] each
        noise = keyed_normal(batch.sample_id, self.latent_dim, salt(progress.seed, progress.step, LATENT))
        painted = self.decoder(mean + (log_variance / 2).exp() * noise)
        error = mean_over_workers((painted - view.float()).square().mean())  # [] the optimal variance
        distortion = self.num_values / 2 * ((error + LEAST_VARIANCE).log() + log(2 * pi) + 1)  # nats per view
        divergence = mean_over_workers(gaussian_kl(mean, log_variance).mean(0))  # [L] nats
        rate = divergence.sum()
        loss = distortion + self.beta * divergence.clamp_min(self.free_nats).sum()
        active = (gather(mean.detach()).var(0) > ACTIVE).float().sum()
        told = {"elbo": -(distortion + rate), "rate": rate, "distortion": distortion, "deviation": error.sqrt()}
        metrics = {name: nats.detach() for name, nats in told.items()}
        return LossOutput(loss / self.num_values, metrics | {"active_latents": active})

    def _latent(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, [B, L] float32 each."""
        mean, log_variance = self.head(self.encoder(view).pooled).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 20)

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The views and what the decoder makes of their latent means, [B, *view_shape] each."""
        (view,) = batch.views
        return view, self.decoder(self._latent(view)[0])

    @torch.no_grad()
    def generate(self, sample_id: Tensor) -> Tensor:
        """Views painted from draws of the prior: [B, *view_shape]."""
        painted: Tensor = self.decoder(keyed_normal(sample_id, self.latent_dim, salt(0, PICTURE)))
        return painted
