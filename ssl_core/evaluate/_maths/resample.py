"""What every score of a probe would have been on other draws of the samples.

Shapes: M test samples, R resamples, S scores that are means.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_core.evaluate.base import Score
from ssl_core.measures.measure import measure_of
from ssl_core.measures.statistics import resample_weights


def replicates(scores: Mapping[str, Score], num_samples: int, seed: int, resamples: int) -> dict[str, Tensor]:
    """Name -> [R] float64, the score on each of R bootstrap resamples of the M test samples.

    All scores see the same resamples, and so do those of another encoder on the same test samples: the differences of
    two scores' replicates are replicates of their difference. Scores that are no statistic of samples are left out;
    those of other samples than test's see resamples of their own. Memory does not grow with R.

    A score that is no mean may be biased on resamples: these repeat samples, so an ECE, NMI or purity comes out higher
    on each than on the samples themselves. Its draws are shifted until their mean is the score (the bootstrap estimate
    of bias, Efron & Tibshirani 1993, section 10.2) and kept within the
    bounds of its measure.
    """
    means = {name: score.per_sample for name, score in scores.items() if score.per_sample is not None}
    others = {name: score for name, score in scores.items() if score.reweighted is not None}
    found: dict[str, list[Tensor]] = {name: [] for name in [*means, *others]}
    table = torch.zeros(num_samples, len(means), dtype=torch.float64)  # [M, S]
    for column, values in zip(table.unbind(dim=1), means.values(), strict=True):
        column.copy_(values)
    for count in {num_samples, *(score.over or num_samples for score in others.values())}:
        for part in resample_weights(count, seed, resamples):
            weights = torch.from_numpy(part)  # [r, M]
            if count == num_samples:
                for name, column in zip(means, (weights @ table / num_samples).unbind(dim=1), strict=True):
                    found[name].append(column)
            for name, score in others.items():
                if score.reweighted is not None and (score.over or num_samples) == count:
                    found[name].append(torch.tensor([score.reweighted(row) for row in weights], dtype=torch.float64))
    draws = {name: torch.cat(parts) for name, parts in found.items() if parts}
    for name in others.keys() & draws.keys():
        measure = measure_of(name)
        draws[name] = (draws[name] + others[name].value - draws[name].mean()).clamp(measure.low, measure.high)
    return draws
