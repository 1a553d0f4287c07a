"""What the encoders of time series promise beyond the contract."""

import pytest
import torch

from ssl_core.encoders.dilated_conv import DilatedConv
from ssl_core.encoders.patch_transformer import SIZES, PatchTransformer
from ssl_core.encoders.series_conv import SeriesConv
from ssl_core.spec import SERIES_AXES, ViewSpec

SPEC = ViewSpec(SERIES_AXES, (2, 32))


def test_a_patch_holds_its_steps_of_all_channels() -> None:
    encoder = PatchTransformer(PatchTransformer.Config(patch_size=4), SPEC)
    x = torch.arange(64.0).view(1, 2, 32)
    assert encoder.grid == (8,) and encoder.patch_dim == 8
    assert encoder.patchify(x)[0, 1].tolist() == [4, 5, 6, 7, 36, 37, 38, 39]


def test_with_channels_apart_a_patch_holds_its_steps_of_one() -> None:
    encoder = PatchTransformer(PatchTransformer.Config(patch_size=4, channels="apart"), SPEC)
    x = torch.arange(64.0).view(1, 2, 32)
    assert encoder.grid == (2, 8) and encoder.patch_dim == 4
    patches = encoder.patchify(x)
    assert patches[0, 1].tolist() == [4, 5, 6, 7] and patches[0, 9].tolist() == [36, 37, 38, 39]
    assert torch.equal(encoder.unpatchify(patches), x)
    assert encoder(x).tokens.shape == (1, 16, 64)


def test_sizes_and_overrides() -> None:
    for size, (dim, depth, _) in SIZES.items():
        with torch.device("meta"):
            encoder = PatchTransformer(PatchTransformer.Config.model_validate({"size": size}), SPEC)
        assert (encoder.embed_dim, len(encoder.blocks)) == (dim, depth)
    small = PatchTransformer(PatchTransformer.Config(dim=6, depth=1, heads=3), SPEC)
    assert (small.embed_dim, len(small.blocks), small.num_class_tokens) == (6, 1, 0)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"patch_size": 5}, r"encoder\.patch_size: 5 does not divide the view length 32"),
        ({"dim": 10, "heads": 4}, r"encoder\.heads: 4 does not divide encoder\.dim 10"),
        ({"dim": 9, "heads": 3}, r"encoder\.dim: 9 is not a multiple of 2"),
    ],
)
def test_refusals_name_the_key(knobs: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PatchTransformer(PatchTransformer.Config.model_validate(knobs), SPEC)


def test_the_convolutions_halve_the_series_and_see_both_sides() -> None:
    encoder = SeriesConv(SeriesConv.Config(width=4, depth=3, kernel_size=3), SPEC).eval()
    pooled, tokens = encoder(torch.randn(5, 2, 32))
    assert tokens.shape == (5, 8, 16)
    torch.testing.assert_close(pooled, tokens.mean(1))
    with pytest.raises(ValueError, match=r"encoder\.depth: 7 stages need 64 steps or more, not 32"):
        SeriesConv(SeriesConv.Config(depth=7), SPEC)
    with pytest.raises(ValueError, match=r"encoder\.kernel_size: 4 is even"):
        SeriesConv(SeriesConv.Config(kernel_size=4), SPEC)


@pytest.mark.parametrize("causal", [False, True])
def test_dilated_convolutions_see_their_field_and_no_further(causal: bool) -> None:
    encoder = DilatedConv(DilatedConv.Config(hidden_dim=4, dim=6, depth=1, causal=causal), SPEC).eval()
    x = torch.randn(1, 2, 32)
    moved = x.clone()
    moved[:, :, 16] += 1
    changed = (encoder(x).tokens != encoder(moved).tokens).any(-1)[0]  # [32]
    reach = 2 * (1 + 2)  # two convolutions of three steps in blocks of dilation 1, 2
    seen = [16 <= step <= 16 + 2 * reach if causal else abs(step - 16) <= reach for step in range(32)]
    assert changed.tolist() == seen


def test_dilated_convolutions_take_series_of_any_length_and_pool_the_largest() -> None:
    encoder = DilatedConv(DilatedConv.Config(hidden_dim=4, dim=6, depth=2, causal=True), SPEC).eval()
    x = torch.randn(3, 2, 50)
    pooled, tokens = encoder(x)
    assert tokens.shape == (3, 50, 6) and torch.equal(pooled, tokens.amax(1))
    torch.testing.assert_close(encoder(x[:, :, :20]).tokens, tokens[:, :20])  # one causal pass is all windows' passes
