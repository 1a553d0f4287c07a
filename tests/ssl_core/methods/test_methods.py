"""What single methods promise beyond the contract."""

import pytest
import torch

from ssl_core.encoders.base import PatchEncoder
from ssl_core.methods.denoising_autoencoder import DenoisingAutoencoder
from ssl_core.methods.mae import MAE, PICTURE
from ssl_core.methods.moco import MoCo
from ssl_core.methods.supervised import Supervised
from ssl_core.nn.masking import random_split, take
from ssl_core.noise import salt
from ssl_core.types import Batch, Progress, Target
from tests.support.tiny import rows, tiny_batch, tiny_encoder, tiny_method


def _moco() -> MoCo:
    method = tiny_method("moco")
    assert isinstance(method, MoCo)
    return method


def test_moco_queue_starts_with_the_same_unit_vectors_everywhere() -> None:
    torch.manual_seed(1)
    queue = _moco().queue
    torch.manual_seed(2)
    assert torch.equal(_moco().queue, queue)
    torch.testing.assert_close(queue.norm(dim=1), torch.ones(20))


def test_moco_queue_is_a_ring_of_any_size() -> None:
    method = _moco()  # 20 slots, batches of 8: the third batch wraps around
    before = method.queue.clone()
    batches = [torch.full((8, 16), float(i)) for i in range(3)]
    for step, keys in enumerate(batches, 1):
        method._fresh.append(keys)
        method.after_step(Progress(step, 3))
    assert method.queue[:, 0].tolist() == [2.0] * 4 + [0.0] * 4 + [1.0] * 8 + [2.0] * 4
    assert int(method.next_slot) == 4 and before.shape == method.queue.shape


def test_moco_batch_larger_than_the_queue_leaves_the_newest() -> None:
    method = _moco()
    method._fresh.append(torch.arange(50.0)[:, None].expand(50, 16))
    method.after_step(Progress(1, 3))
    assert method.queue[:, 0].sort().values.tolist() == list(range(30, 50))


def test_moco_gradient_accumulation_enqueues_every_key_once() -> None:
    whole, parts = _moco(), _moco()
    for method in (whole, parts):
        method.encoder.eval()
        method.key_encoder.eval()  # so that halves of a batch have the keys of the whole
    batch = tiny_batch(whole)
    whole(batch, Progress(0, 3))
    for half in (slice(0, 4), slice(4, 8)):
        parts(rows(batch, half), Progress(0, 3))
    for method in (whole, parts):
        method.after_step(Progress(1, 3))
    torch.testing.assert_close(parts.queue, whole.queue, rtol=1e-5, atol=1e-6)
    assert int(parts.next_slot) == 8 and not parts._fresh


def test_moco_key_encoder_follows_without_gradient() -> None:
    method = _moco()
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(1.0)
    before = [p.clone() for p in method.key_encoder.parameters()]
    method(tiny_batch(method), Progress(0, 3)).loss.backward()
    method.after_step(Progress(1, 3))
    for p, old in zip(method.key_encoder.parameters(), before, strict=True):
        assert p.grad is None
        torch.testing.assert_close(p, old + 0.1)  # momentum 0.9, one apart
    assert not any("key" in name for name, p in method.named_parameters() if p.requires_grad)


def _mae(standardize_targets: bool) -> MAE:
    torch.manual_seed(0)
    encoder = tiny_encoder("vit")
    assert isinstance(encoder, PatchEncoder)
    config = MAE.Config(
        decoder_dim=16, decoder_depth=1, decoder_heads=2, standardize_targets=standardize_targets, mask_ratio=0.5
    )
    return MAE(config, encoder)


@pytest.mark.parametrize("standardize_targets", [True, False])
def test_mae_pictures_keep_what_was_visible(standardize_targets: bool) -> None:
    method = _mae(standardize_targets)
    batch = tiny_batch(method)
    shown, made = method.reconstruct(batch)
    kept, hidden = random_split(batch.sample_id, 4, 0.5, salt(0, PICTURE))
    original, shown, made = (method.encoder.patchify(p) for p in (batch.views[0], shown, made))
    assert torch.equal(take(shown, kept), take(original, kept)) and not take(shown, hidden).any()
    assert torch.equal(take(made, kept), take(original, kept))
    if standardize_targets:  # the hidden patches' own brightness is given back
        per_patch = take(made, hidden).mean(-1) - take(original, hidden).mean(-1)
        assert per_patch.abs().max() < 3 * take(original, hidden).std(-1).max()


def test_mae_never_sees_the_hidden_patches() -> None:
    method = _mae(standardize_targets=False)
    batch = tiny_batch(method)
    patches = method.encoder.patchify(batch.views[0])
    predicted, hidden = method._predict(patches, batch.sample_id, salt(3))
    spoiled = patches.scatter(1, hidden[..., None].expand(-1, -1, patches.shape[-1]), 99.0)
    assert torch.equal(method._predict(spoiled, batch.sample_id, salt(3))[0], predicted)


def test_mae_draws_a_new_mask_each_step() -> None:
    method = _mae(standardize_targets=True)
    batch = tiny_batch(method)
    assert method(batch, Progress(0, 9)).loss != method(batch, Progress(1, 9)).loss


def test_mae_names_the_heads_that_do_not_fit() -> None:
    encoder = tiny_encoder("vit")
    assert isinstance(encoder, PatchEncoder)
    with pytest.raises(ValueError, match=r"method\.decoder_heads: 3 does not divide method.decoder_dim 16"):
        MAE(MAE.Config(decoder_dim=16, decoder_heads=3), encoder)


def test_denoising_corrupts_as_much_as_asked() -> None:
    view = torch.ones(64, 3, 8, 8)
    ids = torch.arange(64)
    noisy = DenoisingAutoencoder(DenoisingAutoencoder.Config(noise_std=0.3, mask_ratio=0), tiny_encoder())
    noise = noisy._corrupt(view, ids, 0) - view
    assert abs(float(noise.std()) - 0.3) < 0.01 and abs(float(noise.mean())) < 0.01
    masked = DenoisingAutoencoder(DenoisingAutoencoder.Config(noise_std=0, mask_ratio=0.25), tiny_encoder())
    erased = masked._corrupt(view, ids, 0)
    assert (erased == 0).float().mean((1, 2, 3)).tolist() == [0.25] * 64
    assert torch.equal(erased[:, 0], erased[:, 2])  # a pixel goes with all its channels
    assert not torch.equal(masked._corrupt(view, ids, 1), erased)
    assert torch.equal(masked._corrupt(view[5:6], ids[5:6], 0), erased[5:6])


def _supervised_batch(classes: torch.Tensor | None) -> Batch:
    target = None if classes is None else Target(classes)
    return Batch((torch.zeros(3, 3, 8, 8),), torch.tensor([5, 6, 7]), (None,), target)


def test_supervised_names_the_class_outside_its_range() -> None:
    method = Supervised(Supervised.Config(num_classes=4), tiny_encoder())
    with pytest.raises(ValueError, match=r"sample 6 has class 4, outside 0\.\.3; raise method.num_classes"):
        method(_supervised_batch(torch.tensor([0, 4, -1])), Progress(0, 1))
    with pytest.raises(ValueError, match="has none"):
        method(_supervised_batch(None), Progress(0, 1))


def test_supervised_loss_and_accuracy_in_closed_form() -> None:
    method = Supervised(Supervised.Config(num_classes=4, label_smoothing=0.2), tiny_encoder())
    with torch.no_grad():
        method.classifier.weight.zero_()
        method.classifier.bias.copy_(torch.tensor([2.0, 0.0, 0.0, 0.0]))
    out = method(_supervised_batch(torch.tensor([0, 0, 1])), Progress(0, 1))
    log_p = torch.tensor([2.0, 0, 0, 0]).log_softmax(0)
    want = -(0.8 * (2 * log_p[0] + log_p[1]) / 3 + 0.2 * log_p.mean())
    torch.testing.assert_close(out.loss, want)
    assert float(out.metrics["accuracy"]) == pytest.approx(2 / 3)


def test_another_seed_draws_other_masks_and_noise() -> None:
    for name in ("mae", "denoising_autoencoder"):
        method = tiny_method(name)
        batch = tiny_batch(method)
        zero, one = (method(batch, Progress(3, 10, seed)).loss for seed in (0, 1))
        assert zero != one, name
