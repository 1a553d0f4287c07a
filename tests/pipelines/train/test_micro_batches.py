"""A global batch taken in parts: the same gradient, the same metrics, and nothing of the batch lost."""

import numpy as np
import torch

from pipelines.storage import outbox
from pipelines.train import loop
from ssl_core.types import Batch, Target
from tests.support.loop import losses, run


def test_accumulation_equals_the_larger_batch_where_the_loss_is_a_mean(tmp_path):
    changes = {
        "method": {"name": "mae", "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
        "encoder": {"name": "vit", "dim": 16, "depth": 1, "heads": 2, "patch_size": 4},  # no BatchNorm
        "views.global": {"name": "image_crop", "size": 8},
    }
    run(tmp_path / "whole", changes)
    run(tmp_path / "parts", changes | {"train.accumulate": 4})
    np.testing.assert_allclose(
        [x for _, x in losses(tmp_path / "whole")], [x for _, x in losses(tmp_path / "parts")], rtol=1e-4
    )


def test_metrics_are_those_of_all_micro_batches(tmp_path):
    changes = {
        "method": {"name": "moco", "hidden_dim": 16, "projection_dim": 8, "queue_size": 40},
        "encoder": {"name": "vit", "dim": 16, "depth": 1, "heads": 2, "patch_size": 4},  # no BatchNorm
        "train.log_every": 1,
        "train.steps": 1,
    }
    seen = []
    for accumulate in (1, 4):
        run(folder := tmp_path / str(accumulate), changes | {"train.accumulate": accumulate})
        seen.append([point.metrics["alignment"] for point in outbox.read(folder)])
    assert len(seen[0]) == 1
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-4)


def test_micro_batches_keep_what_the_batch_holds():
    valid = torch.arange(24).view(8, 3) % 2 == 0  # [B, T]
    batch = Batch(
        (torch.randn(8, 3), torch.randn(8, 2)), torch.arange(8), (valid, None), Target(torch.arange(8) + 5, valid)
    )
    parts = loop._split(batch, 4)
    assert [len(part.sample_id) for part in parts] == [2, 2, 2, 2]
    assert torch.equal(torch.cat([part.valid[0] for part in parts]), valid)
    assert all(part.valid[1] is None for part in parts)
    assert torch.equal(torch.cat([part.target.value for part in parts]), batch.target.value)
    assert torch.equal(torch.cat([part.target.valid for part in parts]), valid)
