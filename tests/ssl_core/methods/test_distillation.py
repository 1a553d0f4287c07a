"""DINO, iBOT and DINOv2 beyond the contract."""

import pytest
import torch

from ssl_core.encoders.base import PatchEncoder
from ssl_core.methods._distillation import Distillation
from ssl_core.methods._distillation_config import DistillationConfig
from ssl_core.methods.dino import DINO
from ssl_core.methods.dinov2 import DINOv2
from ssl_core.methods.ibot import IBOT
from ssl_core.types import Batch, Progress
from tests.support.tiny import image_spec, tiny_batch, tiny_encoder, tiny_method

SMALL = {"num_local": 2, "num_prototypes": 12, "hidden_dim": 32, "bottleneck_dim": 8, "momentum": 0.9}
every = pytest.mark.parametrize("name", ["dino", "ibot", "dinov2"])


def _tiny(name: str) -> Distillation:
    method = tiny_method(name, "vit")
    assert isinstance(method, Distillation)
    return method


def _made(kind: type[DINO] | type[IBOT] | type[DINOv2], patch_size: int = 4, **settings: object) -> Distillation:
    """On views of 16 px."""
    torch.manual_seed(0)
    encoder = tiny_encoder("vit", image_spec(3, 16, 16), patch_size=patch_size)
    assert isinstance(encoder, PatchEncoder)
    return kind(kind.Config.model_validate(SMALL | settings), encoder)  # type: ignore[arg-type]


def _crops(*sizes: int, count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    views = tuple(torch.randn(count, 3, size, size, generator=generator) for size in sizes)
    return Batch(views, torch.arange(count))


@every
def test_the_teacher_is_exported_follows_and_has_no_gradient(name: str) -> None:
    method = _tiny(name)
    assert method.exported is method.teacher
    method(tiny_batch(method), Progress(0, 10)).loss.backward()
    teachers = {n: p for n, p in method.named_parameters() if n.startswith("teacher")}
    before = {n: p.clone() for n, p in teachers.items()}
    assert not any(p.requires_grad or p.grad is not None for p in teachers.values())
    with torch.no_grad():
        for n, p in method.named_parameters():
            if n not in teachers:
                p.add_(1.0)
    method.after_step(Progress(1, 10))
    momentum = method.shared.momentum
    for n, p in teachers.items():
        torch.testing.assert_close(p, before[n] + (1 - momentum), rtol=1e-4, atol=1e-5, msg=n)


@every
def test_prototypes_wait_and_everything_else_learns(name: str) -> None:
    method = _tiny(name)
    for step, waits in ((0, True), (5, False)):
        method.zero_grad()
        method(tiny_batch(method), Progress(step, 100)).loss.backward()
        method.shared = method.shared.model_copy(update={"freeze_fraction": 0.05})
        method.before_step(Progress(step, 100))
        idle = {n for n, p in method.named_parameters() if p.requires_grad and p.grad is None}
        assert idle == ({n for n in idle if n.endswith("prototypes")} if waits else set())
        assert bool(idle) == waits


def test_teacher_temperature_rises_in_a_straight_line_and_stays() -> None:
    keys = {"start_teacher_temperature": 0.04, "teacher_temperature": 0.08, "temperature_rise": 0.2}
    method = _made(DINO, **keys)
    temperatures = [method.teacher_temperature(Progress(step, 100)) for step in (0, 5, 10, 20, 99)]
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.08, 0.08])
    flat = _made(DINO, **keys | {"temperature_rise": 0.0})
    assert flat.teacher_temperature(Progress(0, 100)) == 0.08


@pytest.mark.parametrize("kind", [DINO, IBOT, DINOv2])
def test_small_crops_teach_the_student_and_are_not_shown_to_the_teacher(kind: type[DINO]) -> None:
    method = _made(kind)
    seen: list[torch.Size] = []
    method.teacher.register_forward_hook(lambda module, given, out: seen.append(given[0].shape))
    batch = _crops(16, 16, 8, 8)
    small = [view.requires_grad_() for view in batch.views[2:]]
    method(batch, Progress(0, 10)).loss.backward()
    assert seen == [torch.Size([12, 3, 16, 16])]
    assert all(view.grad is not None and view.grad.abs().sum() > 0 for view in small)


def test_kinds_follow_the_config() -> None:
    for kind in (DINO, IBOT, DINOv2):
        config = kind.Config(num_local=3)
        assert isinstance(config, DistillationConfig)
        assert kind.kinds(config) == ("global", "global", "local", "local", "local")


@pytest.mark.parametrize("kind", [IBOT, DINOv2])
def test_masked_patches_are_hidden_from_the_student_alone(kind: type[IBOT]) -> None:
    method = _made(kind, num_local=0, mask_probability=1.0, mask_ratio=(0.5, 0.5))
    assert isinstance(method, IBOT | DINOv2)
    batch, progress = _crops(16, 16), Progress(0, 10)
    mask = method.masks(batch, progress)
    assert mask.shape == (2, 6, 16) and mask.sum(-1).unique().tolist() == [8] and not torch.equal(mask[0], mask[1])
    patches = torch.stack([method.encoder.patchify(view) for view in batch.views])
    spoiled = torch.where(mask[..., None], 9.0, patches)
    views = tuple(method.encoder.unpatchify(view) for view in spoiled)
    student, teacher = method.see(batch, mask)
    same, other = method.see(Batch(views, batch.sample_id), mask)
    assert torch.equal(same.pooled, student.pooled) and torch.equal(same.tokens, student.tokens)
    assert not torch.allclose(other.tokens, teacher.tokens)


@pytest.mark.parametrize("kind", [IBOT, DINOv2])
def test_each_step_has_masks_of_its_own_on_the_grid_of_the_large_crops(kind: type[IBOT]) -> None:
    method = _made(kind, num_local=0)
    assert isinstance(method, IBOT | DINOv2)
    larger = _crops(24, 24)  # than the views that the encoder was built for
    masks = [method.masks(larger, Progress(step, 10, seed)) for step, seed in ((0, 0), (1, 0), (0, 1))]
    assert masks[0].shape == (2, 6, 36)
    assert not torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert method(larger, Progress(0, 10)).loss.isfinite()


def test_ibot_without_masks_is_dino() -> None:
    """The same head and center, so the same loss of crops, and none of patches."""
    ibot, dino = _made(IBOT, mask_probability=0.0), _made(DINO)
    dino.load_state_dict({k: v for k, v in ibot.state_dict().items() if k in dino.state_dict()})
    batch = _crops(16, 16, 8, 8)
    torch.testing.assert_close(ibot(batch, Progress(0, 10)).loss, dino(batch, Progress(0, 10)).loss)


def test_dinov2_uses_prototypes_alike_where_centers_do_not() -> None:
    method = _made(DINOv2)
    assert isinstance(method, DINOv2)
    scores = torch.rand(2, 32, 12)
    scores[..., 0] += 0.5
    sharp, balanced = (scores / 0.1).softmax(-1), method._balanced(scores, 0.1)
    assert sharp.mean((0, 1)).max() > 0.5 and balanced.mean((0, 1)).max() < 1.5 / 12
    mask = torch.arange(32).expand(2, -1) < 8
    some = method._balanced(scores, 0.1, mask)[mask]
    torch.testing.assert_close(some, method._balanced(scores[:, :8], 0.1).flatten(0, 1))


def test_ratios_in_the_wrong_order_are_named() -> None:
    with pytest.raises(ValueError, match=r"method\.mask_ratio: 0\.5 is more than 0\.1; give the smaller share first"):
        _made(IBOT, mask_ratio=(0.5, 0.1))
