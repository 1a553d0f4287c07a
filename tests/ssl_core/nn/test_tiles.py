"""Tiles, masks of blocks and permutations, keyed by sample."""

from itertools import combinations

import pytest
import torch

from ssl_core.nn.block_masks import block_mask, draw_places, unit_mask
from ssl_core.nn.permutations import far_apart
from ssl_core.nn.tiles import cut_tiles, standardized

IDS = torch.arange(200)


def coordinates(rows: int, columns: int) -> torch.Tensor:
    """Views [200, 2, rows, columns] whose pixels say where they are."""
    row, column = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    return torch.stack([row, column]).expand(len(IDS), -1, -1, -1)


@pytest.mark.parametrize(("rows", "columns", "grid", "size"), [(12, 12, 3, 3), (12, 18, 2, 5), (13, 13, 3, 4)])
def test_every_tile_lies_in_its_cell_and_reaches_all_places(rows: int, columns: int, grid: int, size: int) -> None:
    tiles = cut_tiles(coordinates(rows, columns), grid, size, IDS, salt=5)
    assert tiles.shape == (len(IDS), grid * grid, 2, size, size)
    for place in range(grid * grid):
        for axis, side in ((0, rows), (1, columns)):
            cell, index = side // grid, place // grid if axis == 0 else place % grid
            first = tiles[:, place, axis].flatten(1).min(1).values - index * cell
            assert set(first.tolist()) == set(range(cell - size + 1)), "all places of the cell, the last one included"
            span = tiles[:, place, axis].flatten(1)
            assert (span.max(1).values - span.min(1).values == size - 1).all(), "a piece of the view as it is"


def test_standardized_tiles_have_no_brightness_of_their_own() -> None:
    tiles = standardized(3 + 2 * torch.randn(4, 9, 3, 5, 5, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(tiles.flatten(2).mean(2), torch.zeros(4, 9), atol=1e-5, rtol=0)
    torch.testing.assert_close(tiles.flatten(2).std(2), torch.ones(4, 9), atol=1e-4, rtol=0)


def test_orders_are_far_apart() -> None:
    chosen = far_apart(4, 6)
    assert chosen[0].tolist() == [0, 1, 2, 3] and len({tuple(row) for row in chosen.tolist()}) == 6
    assert [min((chosen[i] != chosen[j]).sum() for j in range(i)) for i in (1, 2, 3)] == [4, 4, 4], (
        "a Latin square first"
    )
    assert len(far_apart(3, 100)) == 6, "no more than there are"
    many = far_apart(9, 20)
    assert min((a != b).sum() for a, b in combinations(many, 2)) >= 7


@pytest.mark.parametrize(("grid", "unit"), [((8, 8), 2), ((4, 6), 1), ((16,), 4)])
def test_units_are_masked_whole_and_equally_many_in_each_sample(grid: tuple[int, ...], unit: int) -> None:
    mask = unit_mask(IDS, grid, unit, 0.6, salt=1).unflatten(1, grid)
    count = mask.flatten(1).sum(1)
    units = torch.tensor(grid).prod() // unit ** len(grid)
    assert (count == round(0.6 * int(units)) * unit ** len(grid)).all()
    if len(grid) == 2:
        cells = mask.unfold(1, unit, unit).unfold(2, unit, unit).flatten(3)
        assert (cells.all(-1) | ~cells.any(-1)).all()
    assert len({tuple(row) for row in mask.flatten(1).tolist()}) > 5, "samples have their own"


def test_blocks_reach_the_last_rows_and_columns() -> None:
    mask = block_mask(IDS, (6, 5), (2, 3), column=0, salt=1).unflatten(1, (6, 5))
    assert (mask.flatten(1).sum(1) == 6).all()
    first = mask.any(2).int().argmax(1), mask.any(1).int().argmax(1)
    assert set(first[0].tolist()) == set(range(5)) and set(first[1].tolist()) == set(range(3))
    other = block_mask(IDS, (6, 5), (2, 3), column=1, salt=1)
    assert not torch.equal(mask.flatten(1), other)


def test_places_are_drawn_from_what_is_preferred_first() -> None:
    preferred = torch.zeros(len(IDS), 10, dtype=torch.bool)
    preferred[:, 2:5] = True
    allowed = preferred.clone()
    allowed[:, 7:] = True
    three, five = (draw_places(preferred, allowed, count, IDS, salt=3) for count in (3, 5))
    assert (three == torch.tensor([2, 3, 4])).all()
    assert (five[:, :3] == three).all() and set(five[:, 3:].flatten().tolist()) == {7, 8, 9}
    two = draw_places(preferred, allowed, 2, IDS, salt=3)
    assert {tuple(row) for row in two.tolist()} == {(2, 3), (2, 4), (3, 4)}, "at random, not the first ones"
