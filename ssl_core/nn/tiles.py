"""Tiles of an image with gaps of random size between them, so that edges do not betray which are neighbors.

Shapes: B samples, C channels, S side of the view, g tiles a side, t side of a tile.
"""

import torch
from torch import Tensor

from ssl_core.noise import keyed_below


def cut_tiles(view: Tensor, grid: int, size: int, sample_id: Tensor, salt: int) -> Tensor:
    """Cut each view into g x g cells, and from each cell a tile at a keyed place (Noroozi & Favaro, 2016).

    Args:
        view: [B, C, H, W]; rows and columns that are left over at the end are not used.
        grid: g.
        size: t, at most the side of a cell.
    Returns: [B, g * g, C, t, t], row by row.
    """
    cells = (view.shape[2] // grid, view.shape[3] // grid)
    place = torch.arange(grid * grid, device=view.device)
    rows = place // grid * cells[0] + keyed_below(sample_id, 2 * place, cells[0] - size + 1, salt)  # [B, g * g]
    columns = place % grid * cells[1] + keyed_below(sample_id, 2 * place + 1, cells[1] - size + 1, salt)
    step = torch.arange(size, device=view.device)
    row, column = rows[..., None] + step, columns[..., None] + step  # [B, g * g, t] each
    samples = torch.arange(len(view), device=view.device)[:, None, None, None]
    return view.permute(0, 2, 3, 1)[samples, row[..., None], column[:, :, None]].permute(0, 1, 4, 2, 3)


def standardized(tiles: Tensor) -> Tensor:
    """[..., C, t, t] with each tile at mean 0 and deviation 1, so that its brightness does not betray its place."""
    values = tiles.flatten(-3).float()
    mean, std = values.mean(-1), (values.var(-1) + 1e-6).sqrt()
    return (tiles - mean[..., None, None, None]) / std[..., None, None, None]
