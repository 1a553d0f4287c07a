"""A stretch of a series as a given number of even steps.

Shapes: T steps of the series, C channels, L steps of the view.
"""

import numpy as np
from numpy.typing import NDArray


def steps_as_rows(
    values: NDArray[np.float32], time: NDArray[np.int64] | None, start: float, stop: float, length: int
) -> NDArray[np.float32]:
    """Resample rows `start` to `stop`: linearly between rows; where there are more rows than steps, by their means.

    Args:
        values: [T, C], NaN where missing.
        time: [T], to step evenly in time; None: by row.
        start: first row; with a `stop - start` of `length` and whole numbers the rows come as they are.
        stop: row behind the last one. What lies outside 0..T is missing.
        length: L.
    Returns: [L, C]. A step between two rows is missing if one of them is; a mean leaves missing rows out.
    """
    if time is None and float(start).is_integer() and stop - start == length:
        return _rows(values, int(start), length)
    step = (stop - start) / length
    edges = (start + np.arange(length + 1) * step).astype(np.float64)  # [L + 1]; row r reaches from r to r + 1
    if time is None:
        return _means(values, edges) if stop - start > length else _between(values, _middles(edges) - 0.5)
    row = np.arange(len(time))
    since = (time - time[0]).astype(np.float64)  # [T]
    first, last = np.interp([start, stop - 1], row, since)
    marks: NDArray[np.float64] = np.linspace(first, last, length + 1)  # of the time from the first row to the last
    if stop - start <= length:
        return _between(values, np.interp(_middles(marks), since, row))
    edges[1:-1] = np.interp(marks[1:-1], since, row + 0.5)
    return _means(values, edges)


def _middles(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    middles: NDArray[np.float64] = (edges[:-1] + edges[1:]) / 2
    return middles


def _rows(values: NDArray[np.float32], start: int, length: int) -> NDArray[np.float32]:
    if start >= 0 and start + length <= len(values):
        return values[start : start + length]
    view = np.full((length, values.shape[1]), np.nan, np.float32)
    first, last = max(start, 0), min(start + length, len(values))
    view[first - start : last - start] = values[first:last]
    return view


def _between(values: NDArray[np.float32], place: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation at places [L] in 0..T-1; beyond the first and last row, those."""
    place = np.clip(place, 0, len(values) - 1)
    low = place.astype(np.int64)
    share = (place - low).astype(np.float32)[:, None]  # [L, 1]
    high = low + (share[:, 0] > 0)
    below = values[low]
    return below + (values[high] - below) * share


def _means(values: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Mean of the rows between edges [L + 1], rows cut by an edge counted by their share."""
    known = ~np.isnan(values)
    sums = _integral(np.where(known, values, 0), edges)  # [L, C]
    if known.all():
        weights = (edges[1:] - edges[:-1])[:, None]
        return (sums / weights).astype(np.float32)
    weights = _integral(known, edges)
    return np.where(weights > 1e-9, sums / np.maximum(weights, 1e-9), np.nan).astype(np.float32)


def _integral(values: NDArray[np.generic], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of the rows between edges: [T, C] and [L + 1] -> [L, C]."""
    first = max(int(edges[0]), 0)
    used = values[first : int(np.ceil(edges[-1])) + 1]
    total = np.zeros((len(used) + 1, values.shape[1]))
    np.cumsum(used, axis=0, dtype=np.float64, out=total[1:])
    place = np.clip(edges - first, 0, len(used))
    low = np.minimum(place.astype(np.int64), len(used) - 1)
    at_edge = total[low] + (total[low + 1] - total[low]) * (place - low)[:, None]  # [L + 1, C]
    sums: NDArray[np.float64] = at_edge[1:] - at_edge[:-1]
    return sums
