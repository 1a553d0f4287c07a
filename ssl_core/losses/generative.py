"""Parts of likelihood bounds and adversarial losses. Pure functions of tensors.

Shapes: B samples, L latents.
"""

from torch import Tensor
from torch.nn.functional import softplus


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of N(mean, variance) from N(0, 1), latent by latent (Kingma & Welling, 2014, appendix B).

    Args:
        mean, log_variance: [B, L].
    Returns: [B, L] nats.
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Cross entropy of telling real from fake by logits [B] each (Goodfellow et al., 2014, eq. 1); [] mean of both."""
    return (softplus(-real.float()).mean() + softplus(fake.float()).mean()) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """The non-saturating loss of the generator (section 3): [] mean over logits [B] of its fakes."""
    return softplus(-fake.float()).mean()
