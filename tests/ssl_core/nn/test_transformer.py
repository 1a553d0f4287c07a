from math import cos, sin

import pytest
import torch
from torch import nn

from ssl_core.nn.transformer import Attention, Block, initialize_, sincos_positions


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    own, reference = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": own.qkv.weight,
            "in_proj_bias": own.qkv.bias,
            "out_proj.weight": own.proj.weight,
            "out_proj.bias": own.proj.bias,
        }
    )
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(own(x), reference(x, x, x, need_weights=False)[0], rtol=1e-5, atol=1e-6)


def test_block_keeps_the_input_when_both_branches_are_zero() -> None:
    block = Block(8, 2)
    for layer in (block.attn.proj, block.mlp[2]):
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)


def test_positions_against_a_loop() -> None:
    got = sincos_positions(8, (3, 4))
    for row in range(3):
        for column in range(4):
            want = []
            for coordinate in (row, column):
                angles = [coordinate / 10_000 ** (i / 2) for i in range(2)]
                want += [sin(a) for a in angles] + [cos(a) for a in angles]
            assert got[4 * row + column].tolist() == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize(("dim", "grid"), [(16, (5,)), (10, (4, 4)), (12, (2, 3, 4))])
def test_positions_differ_on_any_number_of_axes(dim: int, grid: tuple[int, ...]) -> None:
    positions = sincos_positions(dim, grid)
    assert positions.shape == (torch.Size(grid).numel(), dim)
    assert len(positions.unique(dim=0)) == len(positions)


def test_positions_need_two_channels_per_axis() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        sincos_positions(2, (4, 4))


def test_initialize_zeroes_biases_and_bounds_weights() -> None:
    block = Block(8, 2)
    initialize_(block)
    assert not block.attn.qkv.bias.any()
    assert block.attn.qkv.weight.abs().max() <= (6 / (8 + 24)) ** 0.5
