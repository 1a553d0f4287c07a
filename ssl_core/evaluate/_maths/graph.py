"""The nearest-neighbor graph of the features, and labels spread over it.

Shapes: N nodes, E edges (each in both directions), k neighbors per node, M samples outside, P problems at once,
C classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ssl_core.evaluate.knn import nearest

_BLOCK = 1 << 24  # similarities or label values held at once: 64 MB of float32
_TILE = 1 << 12  # nodes on either side of a square of similarities


class Graph(NamedTuple):
    """The symmetrically normalized affinity D^-1/2 W D^-1/2 in compressed rows."""

    start: Tensor  # [N] int64, where each node's edges begin
    node: Tensor  # [E] int64, the other end
    weight: Tensor  # [E]
    scale: Tensor  # [N], the diagonal of D^-1/2


class Links(NamedTuple):
    """Edges from samples outside to nodes; nothing leads back."""

    node: Tensor  # [M, k] int64
    weight: Tensor  # [M, k]


def neighbor_graph(unit: Tensor, k: int, temperature: float) -> Graph:
    """Join each of [N, D] unit rows to its k nearest others; an edge weighs exp((cosine - 1) / temperature).

    On the sphere that is the Gaussian affinity of Zhou et al. with sigma^2 = temperature. W is the mean of the directed
    graph and its transpose.
    """
    links = weighted(*_nearest_each(unit, min(k + 1, len(unit))), temperature)  # a node may find itself
    here = torch.arange(len(unit), device=unit.device)[:, None].expand_as(links.node)  # [N, k+1]
    weight = links.weight.masked_fill(links.node == here, 0) / 2
    rows = torch.cat([here.flatten(), links.node.flatten()])  # [E]
    order = rows.argsort(stable=True)
    rows, node = rows[order], torch.cat([links.node.flatten(), here.flatten()])[order]
    weight = weight.flatten().repeat(2)[order]
    degree = unit.new_zeros(len(unit)).index_add_(0, rows, weight)  # [N]
    scale = degree.clamp_min(torch.finfo(degree.dtype).tiny).rsqrt()  # [N]
    start = torch.searchsorted(rows, torch.arange(len(unit), device=unit.device))
    return Graph(start, node, weight * scale[rows] * scale[node], scale)


def weighted(similarity: Tensor, node: Tensor, temperature: float) -> Links:
    """Edges of [M, k] cosine similarity to [M, k] nodes, weighted as in `neighbor_graph`."""
    return Links(node, ((similarity - 1).clamp_max(0) / temperature).exp())


def _nearest_each(unit: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`nearest` of each of [N, D] unit rows among all of them, itself included; each pair is multiplied once."""
    wide = min(k + 1, len(unit))  # one more, to see a tie at the end
    best = unit.new_full((len(unit), wide), -torch.inf), unit.new_zeros(len(unit), wide, dtype=torch.int64)
    tiles = list(zip(range(0, len(unit), _TILE), unit.split(_TILE), strict=True))
    for number, (row, a) in enumerate(tiles):
        for column, b in tiles[number:]:
            similarity = a @ b.mT  # [T, T]
            _take_in(best, row, similarity, column)
            if column > row:
                _take_in(best, column, similarity.mT.contiguous(), row)
    value, index = best
    tied = (value.diff(dim=1) == 0).any(dim=1).nonzero()[:, 0]  # which of equals is kept is for `nearest` to say
    for rows in tied.split(max(1, _BLOCK // len(unit))) if len(tied) else ():
        value[rows, :k], index[rows, :k] = nearest(unit[rows], unit, k)
    return value[:, :k], index[:, :k]


def _take_in(best: tuple[Tensor, Tensor], row: int, similarity: Tensor, column: int) -> None:
    """Hold the [T, T] similarities of the nodes from `row` on to those from `column` on against the best so far."""
    value, index = (part[row : row + len(similarity)] for part in best)
    found = similarity.topk(min(value.shape[1], similarity.shape[1]), dim=1)
    kept = torch.cat([value, found.values], dim=1).topk(value.shape[1], dim=1)
    index.copy_(torch.cat([index, found.indices + column], dim=1).gather(1, kept.indices))
    value.copy_(kept.values)


def spread(
    graph: Graph, links: Links, seeds: Tensor, alpha: float, *, tolerance: float = 1e-3, max_steps: int = 100
) -> Tensor:
    """Solve (I - alpha S) F = (1 - alpha) Y by conjugate gradients, and read F from outside.

    Equation 4 of Zhou et al. 2004; a sample outside is one more row of S, to which no node links back.

    Args:
        seeds: [N, P*C] label indicators Y of P problems.
        tolerance: residual over right-hand side at which a column is done; argmax needs no more.
    Returns: [M, P*C] scores >= 0, all 0 in the columns of a problem that no label reaches.
    """
    columns = seeds.split(max(1, _BLOCK // len(seeds)), dim=1)
    outward = links.weight * graph.scale[links.node]  # [M, k]
    found = [
        embedding_bag(
            links.node, _solve(graph, part, alpha, tolerance, max_steps), per_sample_weights=outward, mode="sum"
        )
        for part in columns
    ]
    return torch.cat(found, dim=1).clamp_min(0)  # below 0 only by rounding


def _solve(graph: Graph, seeds: Tensor, alpha: float, tolerance: float, max_steps: int) -> Tensor:
    """Conjugate gradients on every column at once: [N, Q] -> [N, Q]."""
    rest = (1 - alpha) * seeds  # [N, Q] residual, as the start is zero
    solution, direction = torch.zeros_like(rest), rest.clone()
    energy = rest.square().sum(dim=0)  # [Q]
    enough, tiny = tolerance**2 * energy, torch.finfo(energy.dtype).tiny
    for _ in range(max_steps):
        open_ = energy > enough
        if not bool(open_.any()):
            break
        image = direction - alpha * _times(graph, direction)  # [N, Q]
        curvature = (direction * image).sum(dim=0)  # [Q]
        step = torch.where(open_, energy / curvature.clamp_min(tiny), 0.0)
        solution += step * direction
        rest -= step * image
        before, energy = energy, torch.where(open_, rest.square().sum(dim=0), energy)
        direction = rest + torch.where(open_, energy / before.clamp_min(tiny), 0.0) * direction
    return solution


def _times(graph: Graph, values: Tensor) -> Tensor:
    """S [N, N] times [N, Q]; embedding_bag is torch's multi-threaded sparse product in float32."""
    return embedding_bag(graph.node, values, graph.start, per_sample_weights=graph.weight, mode="sum")
