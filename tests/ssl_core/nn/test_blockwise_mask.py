"""Masks of overlapping rectangles."""

import pytest
import torch

from ssl_core.nn.block_masks import blockwise_mask


@pytest.mark.parametrize("grid", [(8, 8), (14, 14), (4, 6)])
def test_masks_as_many_as_drawn_in_half_of_the_samples(grid: tuple[int, int]) -> None:
    count = grid[0] * grid[1]
    mask = blockwise_mask(torch.arange(2000), grid, 0.5, (0.1, 0.5), salt=3)
    assert mask.shape == (2000, count)
    share = mask.float().mean(1)
    masked = share[share > 0]
    assert abs(len(masked) / 2000 - 0.5) < 0.05
    assert masked.min() >= 0.1 - 0.5 / count and masked.max() <= 0.5 + 0.5 / count
    assert abs(float(masked.mean()) - 0.3) < 0.02
    corners = mask.unflatten(1, grid).float().mean(0)[:: grid[0] - 1, :: grid[1] - 1]
    assert corners.min() > 0.7 * corners.max() > 0.01, "no row and no column is out of reach"


def test_all_samples_and_exactly_so_many_where_nothing_is_left_to_chance() -> None:
    mask = blockwise_mask(torch.arange(300), (8, 8), 1.0, (0.4, 0.4), salt=3)
    assert mask.sum(1).unique().tolist() == [26]
    assert not blockwise_mask(torch.arange(300), (8, 8), 0.0, (0.4, 0.4), salt=3).any()


def test_are_blocks() -> None:
    """A masked patch has more masked neighbors than by chance."""
    mask = blockwise_mask(torch.arange(500), (8, 8), 1.0, (0.3, 0.3), salt=3).unflatten(1, (8, 8)).float()
    together = (mask[:, 1:] * mask[:, :-1]).mean() / mask.mean()
    assert together > 1.8 * mask.mean()  # by chance: 1 time


def test_are_the_samples_own() -> None:
    ids = torch.arange(64)
    mask = blockwise_mask(ids, (8, 8), 0.5, (0.1, 0.5), salt=3)
    assert torch.equal(blockwise_mask(ids[10:20], (8, 8), 0.5, (0.1, 0.5), salt=3), mask[10:20])
    assert not torch.equal(blockwise_mask(ids, (8, 8), 0.5, (0.1, 0.5), salt=4), mask)
