import math

import pytest
import torch

from ssl_core.methods.best_rq import BestRQ
from ssl_core.spec import MEL_AXES, ViewSpec
from ssl_core.types import Batch, Progress
from tests.support.tiny import tiny_encoder

SPEC = ViewSpec(MEL_AXES, (1, 8, 64))
BATCH = Batch((torch.randn(50, *SPEC.shape, generator=torch.Generator().manual_seed(0)),), torch.arange(50))


def made(**knobs: object) -> BestRQ:
    torch.manual_seed(0)
    config = BestRQ.Config.model_validate({"num_codes": 32, "code_dim": 8, "span": 3, **knobs})
    return BestRQ(config, tiny_encoder("mel_vit", SPEC, patch_mels=4, patch_frames=4))


def test_masks_are_stretches_of_all_bands():
    mask = made(start_rate=0.1)._mask(BATCH.sample_id, 7).unflatten(1, (2, 16))  # [B, bands, F]
    assert torch.equal(mask[:, 0], mask[:, 1])
    assert mask.any(2).all() and not mask.all()
    for row in mask[:, 0].int().tolist():
        lengths = [len(run) for run in "".join(map(str, row)).split("0") if run]
        assert all(length >= 3 for length in lengths[:-1])  # the last one may meet the end
    expected = 1 - 0.9**3
    assert abs(mask[:, :, 2:].float().mean() - expected) < 0.06


def test_the_loss_begins_at_chance_and_codes_are_of_the_unmasked_recording():
    method = made()
    out = method(BATCH, Progress(0, 10))
    assert abs(out.loss - math.log(32)) < 0.1
    assert out.metrics["accuracy"] <= 0.3 and 5 < out.metrics["used_codes"] <= 32 and out.metrics["majority"] < 0.5
    codes = method._codes(method.encoder.patchify(BATCH.views[0]))
    nearest = torch.cdist(
        torch.nn.functional.normalize(method.encoder.patchify(BATCH.views[0]) @ method.projection, dim=-1),
        method.codebook,
    ).argmin(-1)
    assert torch.equal(codes, nearest)


def test_loudness_does_not_change_the_codes():
    method = made()
    quiet = Batch((BATCH.views[0] * 0.01 + 3,), BATCH.sample_id)
    loud, soft = (method(batch, Progress(0, 10)).metrics for batch in (BATCH, quiet))
    for name in ("majority", "used_codes"):
        torch.testing.assert_close(soft[name], loud[name], rtol=0.02, atol=0)


def test_projection_and_codebook_are_kept_and_not_trained():
    method = made()
    assert {"projection", "codebook"} <= set(method.state_dict())
    assert not {"projection", "codebook"} & {name for name, _ in method.named_parameters()}


def test_a_stretch_that_would_mask_everything_is_refused():
    with pytest.raises(ValueError, match=r"method\.span: 16 of 16 positions would mask all"):
        made(span=16)
