"""How sure a score is: intervals, paired comparisons on the same samples, rank correlation.

NumPy in float64; every draw is keyed. M samples, R resamples.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_core.noise import keyed_uniform, salt

_BLOCK = 1 << 22  # draws held at once: 32 MB of float64


class Interval(NamedTuple):
    """A mean and the interval that holds the true one with the asked confidence."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """What a second encoder gains over a first one on the same samples."""

    difference: Interval
    """Mean of second minus first."""
    p_value: float
    """How often a difference this large, either way, comes by chance between equals."""
    test: str
    """`exact McNemar` where all scores are 0 or 1, else `sign flips`."""


def bootstrap_mean(values: ArrayLike, seed: int, *, confidence: float = 0.95, resamples: int = 2000) -> Interval:
    """Percentile bootstrap interval of a mean over samples (Efron & Tibshirani 1993, chapter 13).

    For scores that are means over test samples: pass 0/1 hits for an accuracy, average precisions for mAP. Memory does
    not grow with `resamples`.

    Args:
        values: [M], one score per sample.
        seed: keys the resamples; equal seeds and lengths draw the same samples, so intervals can be compared.
        confidence: in (0, 1).
    Raises:
        ValueError: no samples, values that are not finite, or a setting out of range.
    """
    sample = _finite(values)
    _check(confidence, resamples)
    means = np.concatenate([sample[rows].mean(axis=1) for rows in _resamples(len(sample), seed, resamples)])  # [R]
    return Interval(float(sample.mean()), *percentiles(means, confidence))


def resample_weights(num_samples: int, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """How often each bootstrap resample holds each sample: parts [r, M] of [R, M], each row of sum M.

    For scores that are no means: the score of the weighted samples is one draw of its distribution. The draws are those
    of `bootstrap_mean` with the same seed and length.
    """
    for rows in _resamples(num_samples, seed, resamples):
        flat = rows + np.arange(len(rows))[:, None] * num_samples  # [r, M]
        yield np.bincount(flat.ravel(), minlength=flat.size).reshape(flat.shape).astype(np.float64)


def percentiles(draws: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that leaves out equal shares of [R] draws on either side."""
    low, high = np.quantile(_finite(draws), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def compare(
    first: ArrayLike, second: ArrayLike, seed: int, *, confidence: float = 0.95, resamples: int = 2000
) -> Comparison:
    """Compare two encoders by their scores of the same samples in the same order.

    Pairing removes what makes samples hard for both, so much smaller differences show than from two intervals.

    Args:
        first, second: [M], one score per sample (0/1 hits, or any number).
        seed: keys the resamples and the sign flips.
        resamples: of the interval, and sign flips of the p-value.
    Raises:
        ValueError: as `bootstrap_mean`, or two different lengths.
    """
    a, b = _finite(first), _finite(second)
    if len(a) != len(b):
        raise ValueError(f"a paired comparison needs the same samples twice; got {len(a)} and {len(b)}")
    interval = bootstrap_mean(b - a, seed, confidence=confidence, resamples=resamples)
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        return Comparison(interval, mcnemar(int((a > b).sum()), int((b > a).sum())), "exact McNemar")
    return Comparison(interval, sign_flips(b - a, seed, flips=resamples), "sign flips")


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar 1947 from the samples that one side alone gets right.

    Twice the binomial tail of the smaller count at probability 1/2, at most 1.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts must be 0 or more; got {only_first} and {only_second}")
    total, smaller = only_first + only_second, min(only_first, only_second)
    rank = np.arange(1, smaller + 1)
    log_choose = np.concatenate([[0.0], np.log((total + 1 - rank) / rank).cumsum()])  # log of total choose 0..smaller
    largest = log_choose.max()
    tail = largest + math.log(np.exp(log_choose - largest).sum()) - total * math.log(2)
    return min(2 * math.exp(tail), 1.0)


def sign_flips(differences: ArrayLike, seed: int, *, flips: int = 10_000) -> float:
    """Two-sided paired permutation p-value: each difference may as well have had the other sign.

    (1 + flips at least as extreme) / (1 + flips), which never is 0 (Phipson & Smyth 2010,
    https://doi.org/10.2202/1544-6115.1585).

    Args:
        differences: [M].
    """
    sample = _finite(differences)
    observed = abs(float(sample.sum()))
    enough = observed - 1e-12 * float(np.abs(sample).sum())  # equal sums may differ by rounding
    key, extreme = salt(seed, 1), 0
    for ids in _resample_ids(flips, len(sample)):
        signs = np.where(keyed_uniform(ids, len(sample), key) < 0.5, -1.0, 1.0)  # [r, M]
        extreme += int((np.abs(signs @ sample) >= enough).sum())
    return (1 + extreme) / (1 + flips)


def welch(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """What the mean of a second sample gains over that of an independent first one (Welch 1947).

    For the scores of two configs over their seeds.

    Args:
        first, second: [M] and [N], M and N >= 2.
    Raises:
        ValueError: fewer than two values on a side, or values that are not finite.
    """
    sides = [_finite(first), _finite(second)]
    if min(map(len, sides)) < 2:
        raise ValueError(f"a spread needs two or more values; got {len(sides[0])} and {len(sides[1])}")
    gain = float(sides[1].mean() - sides[0].mean())
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    if not sum(parts):
        return Interval(gain, gain, gain)
    from scipy.stats import t  # here, because it takes a second to import

    weight = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    half = float(t.ppf((1 + confidence) / 2, sum(parts) ** 2 / weight)) * math.sqrt(sum(parts))
    return Interval(gain, gain - half, gain + half)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank: a number in [-1, 1].

    Args:
        first, second: [M], M >= 2.
    Returns: NaN where one side is constant: it ranks nothing.
    Raises:
        ValueError: different lengths, fewer than two values, or values that are not finite.
    """
    a, b = _finite(first), _finite(second)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"a rank correlation needs the same two or more items twice; got {len(a)} and {len(b)}")
    ranks = [mean_ranks(side) - (len(side) + 1) / 2 for side in (a, b)]  # [M] each, mean 0
    scale = math.sqrt(float((ranks[0] ** 2).sum()) * float((ranks[1] ** 2).sum()))
    return max(-1.0, min(1.0, float(ranks[0] @ ranks[1]) / scale)) if scale else math.nan


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[M] ranks from 1, equal values sharing the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[group]


def _resamples(num_samples: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Parts [r, M] of [R, M]: the samples of each bootstrap resample."""
    key = salt(seed, 0)
    for ids in _resample_ids(resamples, num_samples):
        yield (keyed_uniform(ids, num_samples, key) * num_samples).astype(np.int64)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"needs one score per sample, [M] with M > 0; got {list(sample.shape)}")
    bad = int((~np.isfinite(sample)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(sample)} values are NaN or infinite")
    return sample


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence}")
    if resamples < 1:
        raise ValueError(f"resamples must be 1 or more; got {resamples}")


def _resample_ids(count: int, width: int) -> list[NDArray[np.int64]]:
    """0..count-1 in parts whose [part, width] draws fit the block."""
    rows = max(1, _BLOCK // width)
    return [np.arange(at, min(at + rows, count), dtype=np.int64) for at in range(0, count, rows)]
