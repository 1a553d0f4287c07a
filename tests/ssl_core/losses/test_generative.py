"""Parts of likelihood bounds and adversarial losses against torch's own."""

import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from ssl_core.losses.generative import discriminator_loss, gaussian_kl, generator_loss


def test_the_divergence_is_that_of_two_normals() -> None:
    mean, log_variance = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    wanted = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1))
    torch.testing.assert_close(gaussian_kl(mean, log_variance), wanted)
    assert (gaussian_kl(torch.zeros(1, 2), torch.zeros(1, 2)) == 0).all()


def test_both_losses_are_cross_entropies() -> None:
    real, fake = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    logits, answer = torch.cat([real, fake]), torch.cat([torch.ones(7), torch.zeros(7)])
    torch.testing.assert_close(discriminator_loss(real, fake), binary_cross_entropy_with_logits(logits, answer))
    torch.testing.assert_close(generator_loss(fake), binary_cross_entropy_with_logits(fake, torch.ones(7)))
