"""Layer-wise learning rates: MAE's own groups on a ViT, and an optimizer that obeys them."""

import pytest
import torch
from torch import Tensor

from ssl_core import catalog
from ssl_core.methods.supervised import Supervised
from ssl_core.optimize.layer_decay import lr_scales
from ssl_core.optimize.optimizers import OptimConfig, build_optimizer, set_lr_
from tests.support.tiny import suitable_encoders, tiny_encoder


def supervised(encoder: str, **overrides: object) -> Supervised:
    torch.manual_seed(0)
    return Supervised(Supervised.Config(num_classes=3), tiny_encoder(encoder, **overrides))


def layer_id_of_mae(name: str, num_blocks: int) -> int:
    """`get_layer_id_for_vit` of the published code (util/lr_decay.py), on our parameter names."""
    name = name.removeprefix("encoder.")
    if name == "cls_token" or name.startswith("patch_embed"):
        return 0
    if name.startswith("blocks"):
        return int(name.split(".")[1]) + 1
    return num_blocks + 1


def test_on_a_vit_the_groups_are_those_of_mae() -> None:
    method = supervised("vit", depth=3)
    scales = lr_scales(method, 0.75)
    want = {name: 0.75 ** (4 - layer_id_of_mae(name, 3)) for name, _ in method.named_parameters()}
    assert scales == pytest.approx(want)
    assert scales["encoder.patch_embed.weight"] == pytest.approx(0.75**4) and scales["classifier.weight"] == 1


@pytest.mark.parametrize("encoder", suitable_encoders("supervised"))
def test_it_rises_towards_the_head(encoder: str) -> None:
    method = supervised(encoder)
    scales = lr_scales(method, 0.5)
    assert scales.keys() == dict(method.named_parameters()).keys()
    layers = [p for part in method.encoder.layers() for p in part.parameters()]
    name_of = {p: name for name, p in method.named_parameters()}
    ordered = [scales[name_of[p]] for p in layers]
    assert ordered == sorted(ordered) and ordered[0] < ordered[-1] <= 1
    assert scales["classifier.weight"] == scales["classifier.bias"] == 1


def test_a_decay_of_one_changes_nothing() -> None:
    assert set(lr_scales(supervised("resnet"), 1.0).values()) == {1.0}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_the_optimizer_steps_by_the_scale_of_each_parameter(name: str) -> None:
    method = supervised("vit", depth=2)
    scales = lr_scales(method, 0.1)
    config = OptimConfig.model_validate({"name": name, "weight_decay": 0.0, "momentum": 0.0})
    whole, scaled = build_optimizer(config, method, 0.1), build_optimizer(config, method, 0.1, scales)
    for optimizer in (whole, scaled):
        set_lr_(optimizer, 0.02)
    of = {p: group["lr"] for group in scaled.param_groups for p in group["params"]}
    for parameter, p in method.named_parameters():
        assert of[p] == pytest.approx(0.02 * scales[parameter])
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    one, part = (_moved(method, optimizer, before) for optimizer in (whole, scaled))
    for parameter, scale in scales.items():
        torch.testing.assert_close(part[parameter], one[parameter] * scale, rtol=2e-3, atol=2e-7)


def _moved(method: Supervised, optimizer: torch.optim.Optimizer, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """How far one step of ones takes each parameter from `before`."""
    with torch.no_grad():
        for name, p in method.named_parameters():
            p.copy_(before[name])
            p.grad = torch.ones_like(p)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in method.named_parameters()}


def test_every_encoder_names_layers_that_hold_its_weights() -> None:
    for name in suitable_encoders("supervised"):
        encoder = tiny_encoder(name)
        inside = {p for part in encoder.layers() for p in part.parameters()}
        apart = [n for n, p in encoder.named_parameters() if p not in inside]
        assert apart in ([], ["cls_token"]), f"{name} of {catalog.names('ssl_core.encoders')}"
