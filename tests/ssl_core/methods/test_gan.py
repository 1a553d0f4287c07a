"""Each network of a GAN has the gradient of its own loss alone."""

import copy

import torch

from ssl_core.losses.generative import discriminator_loss, generator_loss
from ssl_core.methods import gan
from ssl_core.nn.norm import statistics_kept
from ssl_core.noise import keyed_normal, salt
from ssl_core.types import Progress
from tests.support.tiny import tiny_batch, tiny_method


def test_each_network_has_the_gradient_of_its_own_loss() -> None:
    method = tiny_method("gan")
    batch, progress = tiny_batch(method), Progress(3, 10)
    apart = copy.deepcopy(method)
    method(batch, progress).loss.backward()

    painted = apart.generator(keyed_normal(batch.sample_id, apart.latent_dim, salt(0, 3, gan.LATENT)))
    real, fake = apart._judge(batch.views[0]), apart._judge(painted)
    judges = [p for name, p in apart.named_parameters() if not name.startswith("generator.")]
    painters = list(apart.generator.parameters())
    wanted = torch.autograd.grad(discriminator_loss(real, fake), judges, retain_graph=True)
    wanted += torch.autograd.grad(generator_loss(fake), painters)
    found = [p.grad for name, p in method.named_parameters() if not name.startswith("generator.")]
    found += [p.grad for p in method.generator.parameters()]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_registered_encoder_has_statistics_of_real_views_alone() -> None:
    method = tiny_method("gan")
    batch = tiny_batch(method)
    alone = copy.deepcopy(method.encoder)
    alone(batch.views[0])
    method(batch, Progress(0, 10))
    for (name, ours), theirs in zip(method.encoder.named_buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}")


def test_statistics_are_kept_though_the_batch_is_what_normalizes() -> None:
    layer = tiny_method("gan").encoder
    before = {name: x.clone() for name, x in layer.named_buffers()}
    with statistics_kept(layer):
        seen = layer(torch.randn(8, 3, 8, 8) + 3).pooled
    assert torch.isfinite(seen).all() and before
    assert all(torch.equal(x, before[name]) for name, x in layer.named_buffers())


def test_pictures_are_keyed() -> None:
    method = tiny_method("gan").eval()
    both = method.generate(torch.tensor([3, 4]))
    assert both is not None and both.shape == (2, 3, 8, 8)
    torch.testing.assert_close(method.generate(torch.tensor([4])), both[1:])
