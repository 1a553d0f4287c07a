import copy

import pytest
import torch

from ssl_core.methods.multi_task import MultiTask
from ssl_core.methods.rotation import Rotation
from ssl_core.methods.simclr import SimCLR
from ssl_core.types import Batch, Progress
from tests.support.tiny import tiny_encoder

SIMCLR = {"name": "simclr", "hidden_dim": 32, "projection_dim": 16, "temperature": 0.5}
VIEWS = torch.randn(2, 8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = Batch((VIEWS[0], VIEWS[1]), torch.arange(8))


def made(weighting: str = "fixed", parts: dict[str, object] | None = None, **weights: float) -> MultiTask:
    torch.manual_seed(0)
    parts = parts or {"contrast": SIMCLR, "turn": {"name": "rotation"}}
    config = MultiTask.Config.model_validate({"parts": parts, "weights": weights, "weighting": weighting})
    return MultiTask(config, tiny_encoder())


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_the_loss_is_the_weighted_sum_of_the_methods_alone(weighting):
    method = made(weighting, turn=0.25)
    simclr = SimCLR(SimCLR.Config(**SIMCLR), copy.deepcopy(method.encoder))
    rotation = Rotation(Rotation.Config(), copy.deepcopy(method.encoder))
    simclr.load_state_dict(method.parts["contrast"].state_dict(), strict=False)
    rotation.load_state_dict(method.parts["turn"].state_dict(), strict=False)
    # the first of two views is the one that rotation reads; BatchNorm uses the statistics of each pass
    first = Batch((VIEWS[0],), BATCH.sample_id)
    alone = {"contrast": simclr(BATCH, Progress(0, 1)).loss, "turn": rotation(first, Progress(0, 1)).loss}
    out = method(BATCH, Progress(0, 1))
    learned = torch.tensor(4.0).log() if weighting == "uncertainty" else 0.0  # s = -log(weight) is added
    torch.testing.assert_close(out.loss, alone["contrast"] + 0.25 * alone["turn"] + learned)
    for label, loss in alone.items():
        torch.testing.assert_close(out.metrics[f"{label}_loss"], loss.detach())
    assert {"contrast_alignment", "turn_accuracy"} <= set(out.metrics)


def test_a_part_that_is_hard_to_learn_loses_weight():
    """The optimum of exp(-s) * loss + s over s is the logarithm of the loss (Kendall et al., section 3.2)."""
    method = made("uncertainty")
    optimizer = torch.optim.SGD([method.log_variances], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        out = method(BATCH, Progress(0, 1))
        out.loss.backward()
        optimizer.step()
    losses = torch.stack([out.metrics["contrast_loss"], out.metrics["turn_loss"]])
    torch.testing.assert_close(method.log_variances.detach(), losses.log(), rtol=1e-3, atol=1e-3)


def test_every_tensor_has_one_name_and_the_parts_share_the_encoder():
    method = made()
    assert not [name for name in method.state_dict() if name.startswith("parts.") and "encoder" in name]
    assert all(part.encoder is method.encoder for part in method.parts.values())
    copied = copy.deepcopy(method)
    assert all(part.encoder is copied.encoder for part in copied.parts.values())


@pytest.mark.parametrize(
    ("parts", "weights", "words"),
    [
        ({"a": SIMCLR}, {}, "parts"),
        ({"a": SIMCLR, "b": {"name": "mae"}}, {}, "method.parts.b: mae needs a PatchEncoder"),
        ({"a": SIMCLR, "b": {"name": "supervised", "num_classes": 2}}, {}, "method.parts.b: supervised reads labels"),
        ({"a": SIMCLR, "b": {"name": "i_jepa"}}, {}, "method.parts.b: i_jepa is evaluated by its teacher"),
        ({"a": SIMCLR, "b": {"name": "jigsaw", "grid": 3}}, {}, "method.parts.b.grid"),
        ({"a": SIMCLR, "b": {"name": "rotation"}}, {"c": 1.0}, "method.weights.c: no such part; there are a, b"),
        ({"a": SIMCLR, "B.c": {"name": "rotation"}}, {}, "B.c"),
    ],
)
def test_what_is_no_part_is_refused(parts, weights, words):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        made(parts=parts, **weights)
