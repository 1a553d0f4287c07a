"""Intervals and tests against SciPy, exact enumeration, and what they promise: coverage."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from ssl_core.measures import statistics
from ssl_core.measures.statistics import bootstrap_mean, compare, mcnemar, sign_flips, spearman, welch


def test_interval_of_an_accuracy_is_the_binomial_one():
    hits = np.arange(1000) < 800
    interval = bootstrap_mean(hits, seed=1)
    error = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert interval.mean == 0.8
    assert interval.low == pytest.approx(0.8 - error, abs=0.003)
    assert interval.high == pytest.approx(0.8 + error, abs=0.003)
    wide = bootstrap_mean(hits, seed=1, confidence=0.99)
    assert wide.low < interval.low and wide.high > interval.high


def test_interval_holds_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(rng.exponential(size=80), i, confidence=0.9, resamples=300) for i in range(400)]
    covered = np.mean([i.low <= 1 <= i.high for i in intervals])
    assert 0.84 < covered < 0.93  # 0.9 nominal; skewed samples of 80 fall a little short


def test_interval_is_keyed_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=4) != whole
    monkeypatch.setattr(statistics, "_BLOCK", 170)  # three resamples at a time
    assert bootstrap_mean(values, seed=3) == whole


def test_welch_is_scipys():
    first, second = [0.80, 0.82, 0.84], [0.86, 0.87, 0.92, 0.93]
    interval = welch(first, second)
    wanted = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert interval.mean == pytest.approx(0.075)
    assert (interval.low, interval.high) == pytest.approx((wanted.low, wanted.high))
    assert welch([1, 1], [2, 2]) == (1, 1, 1)
    with pytest.raises(ValueError, match="got 1 and 3"):
        welch([1], [1, 2, 3])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (3, 3), (10, 2), (1, 40), (700, 620), (3000, 2500)])
def test_mcnemar_is_the_binomial_test(b: int, c: int):
    want = stats.binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(want, rel=1e-9)
    assert mcnemar(c, b) == mcnemar(b, c)


def test_sign_flips_approach_the_exact_enumeration():
    differences = np.array([0.9, -0.2, 0.5, 0.4, 0.3, -0.1, 0.7, 0.2, 0.05, 0.6])
    signs = np.array(list(product((-1, 1), repeat=len(differences))))
    exact = float((np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean())
    assert sign_flips(differences, seed=0, flips=40_000) == pytest.approx(exact, abs=0.003)
    assert sign_flips(np.zeros(9), seed=0) == 1.0


def test_a_paired_comparison_sees_what_two_intervals_do_not():
    first = np.arange(1000) < 700
    second = first | (np.arange(1000) >= 985)  # 15 more right, none lost
    apart = bootstrap_mean(first, 0), bootstrap_mean(second, 0)
    assert apart[1].low < apart[0].high
    found = compare(first, second, seed=0)
    assert found.test == "exact McNemar"
    assert found.difference.mean == pytest.approx(0.015)
    assert found.difference.low > 0
    assert found.p_value == pytest.approx(2 * 0.5**15)


def test_comparison_of_graded_scores_flips_signs():
    rng = np.random.default_rng(0)
    base = rng.uniform(size=200)
    better = compare(base, base + rng.normal(0.05, 0.1, 200), seed=0)
    same = compare(base, base + rng.normal(0, 0.1, 200), seed=0)
    assert better.test == same.test == "sign flips"
    assert better.p_value < 0.01
    assert same.p_value > 0.05
    assert same.difference.low < 0 < same.difference.high


@pytest.mark.parametrize("seed", range(4))
def test_spearman_with_ties_is_scipys(seed: int):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 6, 30)
    b = a + rng.integers(0, 6, 30)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert spearman(a, -np.exp(a)) == -1


def test_a_constant_ranks_nothing():
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="M > 0"):
        bootstrap_mean([], 0)
    with pytest.raises(ValueError, match="1 of 2 values"):
        bootstrap_mean([1, np.nan], 0)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_mean([1, 2], 0, confidence=95)
    with pytest.raises(ValueError, match="same samples twice; got 2 and 3"):
        compare([0, 1], [0, 1, 1], 0)
    with pytest.raises(ValueError, match="two or more items"):
        spearman([1], [2])
    with pytest.raises(ValueError, match="0 or more"):
        mcnemar(-1, 2)
