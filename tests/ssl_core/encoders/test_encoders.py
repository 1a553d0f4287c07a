"""What the encoders promise beyond the contract."""

from typing import Any

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import conv2d, interpolate

from ssl_core.encoders.convnet import ConvNet
from ssl_core.encoders.resnet import ResNet
from ssl_core.encoders.vit import SIZES, ViT
from tests.support.tiny import image_spec


@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_of_width_64_is_torchvisions(depth: int) -> None:
    reference = getattr(torchvision.models, f"resnet{depth}")().eval()
    weights = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    resnet = ResNet(ResNet.Config.model_validate({"depth": depth, "stem": "imagenet"}), image_spec(3, 64, 64)).eval()
    assert {k: v.shape for k, v in resnet.state_dict().items()} == {k: v.shape for k, v in weights.items()}
    resnet.load_state_dict(weights)
    reference.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resnet(x).pooled, reference(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "small"), [(32, True), (64, True), (65, False), (224, False)])
def test_auto_stem_depends_on_the_view(size: int, small: bool) -> None:
    resnet = ResNet(ResNet.Config(width=4), image_spec(3, size, size))
    assert resnet.conv1.kernel_size == ((3, 3) if small else (7, 7))
    assert isinstance(resnet.maxpool, nn.MaxPool2d) is not small


def test_zero_init_residual_makes_every_block_its_shortcut() -> None:
    for depth in (18, 50):
        resnet = ResNet(ResNet.Config(depth=depth, width=4, zero_init_residual=True), image_spec(3, 8, 8))
        block, channels = resnet.layer1[1], 4 if depth == 18 else 16
        x = torch.rand(2, channels, 8, 8)
        assert torch.equal(block(x), x)


def test_vit_sizes_and_overrides() -> None:
    dim, depth, heads = SIZES["tiny"]
    vit = ViT(ViT.Config(), image_spec(3, 32, 32))
    attention = vit.get_submodule("blocks.0.attn")
    assert [vit.embed_dim, len(vit.blocks), attention.heads] == [dim, depth, heads]
    small = ViT(ViT.Config(size="base", dim=16, depth=1, heads=2), image_spec(3, 32, 32))
    assert (small.embed_dim, len(small.blocks), small.num_tokens) == (16, 1, 64)


def test_vit_base_has_the_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        vit = ViT(ViT.Config(size="base", patch_size=16, class_token=True), image_spec(3, 224, 224))
    head, positions = 768 * 1000 + 1000, 197 * 768  # ViT-B/16 counts a classifier, and learns its positions
    assert sum(p.numel() for p in vit.parameters()) + head + positions == 86_567_656


def test_vit_pools_by_mean_or_class_token() -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mean = ViT(ViT.Config(dim=16, depth=1, heads=2), image_spec(3, 8, 8))(x)
    torch.testing.assert_close(mean.pooled, mean.tokens.mean(1))
    vit = ViT(ViT.Config(dim=16, depth=1, heads=2, class_token=True), image_spec(3, 8, 8))
    features = vit(x)
    assert features.tokens.shape == (2, 4, 16)
    assert torch.equal(features.pooled, vit.encode(vit.embed(vit.patchify(x)))[:, 0])


def test_vit_patch_embedding_is_a_strided_convolution() -> None:
    vit = ViT(ViT.Config(dim=16, depth=1, heads=2), image_spec(3, 8, 8))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mapped = conv2d(x, vit.patch_embed.weight.view(16, 3, 4, 4), vit.patch_embed.bias, stride=4)
    torch.testing.assert_close(vit.embed(vit.patchify(x)), mapped.flatten(2).mT + vit.position, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 5}, "encoder.patch_size: 5 does not divide the view size 32"),
        ({"dim": 16, "heads": 3}, "encoder.heads: 3 does not divide encoder.dim 16"),
        ({"dim": 18, "heads": 2}, "encoder.dim: 18 is not a multiple of 4"),
    ],
)
def test_vit_names_the_key_that_does_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViT(ViT.Config(**settings), image_spec(3, 32, 32))


def test_convnet_names_the_key_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"encoder.depth: 5 stages need views of 16 px or more, not 8 px"):
        ConvNet(ConvNet.Config(depth=5), image_spec(3, 8, 8))


def test_unknown_depths_are_refused() -> None:
    with pytest.raises(ValidationError, match="depth"):
        ResNet.Config.model_validate({"depth": 20})


def _vit(**settings: Any) -> ViT:
    torch.manual_seed(0)
    return ViT(ViT.Config(patch_size=4, dim=32, depth=2, heads=4, **settings), image_spec(3, 32, 32)).eval()


@pytest.mark.parametrize("positions", ["fixed", "learned"])
def test_a_vit_reads_crops_of_other_sizes_with_positions_that_span_them(positions: str) -> None:
    vit = _vit(positions=positions)
    for size in ((16, 16), (16, 24), (64, 64)):
        x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        grid = (size[0] // 4, size[1] // 4)
        assert vit(x).tokens.shape == (2, grid[0] * grid[1], 32)
        on_map = vit.position.mT.unflatten(2, (8, 8))
        wanted = interpolate(on_map, size=grid, mode="bicubic").flatten(2).mT  # as DINO's code
        patches = vit.patchify(x)
        torch.testing.assert_close(vit.embed(patches, grid=grid) - vit.patch_embed(patches), wanted.expand(2, -1, -1))
    with pytest.raises(ValueError, match=r"encoder\.patch_size: 4 does not divide the view size 10"):
        vit(torch.zeros(1, 3, 12, 10))


def test_interpolated_positions_keep_their_order_and_their_symmetry() -> None:
    """Of a coordinate that rises along the rows: still rising, and the middle stays the middle."""
    vit = _vit(positions="learned")
    with torch.no_grad():
        vit.position.copy_(torch.arange(8.0).repeat_interleave(8)[None, :, None].expand(1, 64, 32))
    rows = vit._positions_on((4, 4)).detach()[0, :, 0].unflatten(0, (4, 4))
    assert (rows.diff(dim=0) > 1).all() and torch.allclose(rows, rows[:, :1].expand(4, 4))
    assert float(rows.mean()) == pytest.approx(3.5, abs=1e-5)


@pytest.mark.parametrize("class_token", [False, True])
def test_registers_are_no_patches(class_token: bool) -> None:
    vit = _vit(class_token=class_token, registers=3)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    features, encoded = vit(x), vit.encode(vit.embed(vit.patchify(x)))
    ahead = 3 + class_token
    assert vit.num_class_tokens == ahead and vit.num_tokens == 64 and encoded.shape == (2, ahead + 64, 32)
    assert torch.equal(features.tokens, encoded[:, ahead:])
    assert torch.equal(features.pooled, encoded[:, 0] if class_token else features.tokens.mean(1))
    features.pooled.square().sum().backward()
    assert vit.reg_token is not None and vit.reg_token.grad is not None and vit.reg_token.grad.abs().sum() > 0
    assert torch.equal(vit.layer_features(x)[-1].pooled, vit(x).pooled)
