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
    links = neighbor_links(unit, unit, min(k + 1, len(unit)), temperature)  # a node may find itself
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


def neighbor_links(outside: Tensor, unit: Tensor, k: int, temperature: float) -> Links:
    """The k nearest of [N, D] unit rows to each of [M, D], weighted as in `neighbor_graph`."""
    parts = [nearest(rows, unit, k) for rows in outside.split(max(1, _BLOCK // len(unit)))]
    similarity = torch.cat([p[0] for p in parts])  # [M, k]
    return Links(torch.cat([p[1] for p in parts]), ((similarity - 1).clamp_max(0) / temperature).exp())


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
