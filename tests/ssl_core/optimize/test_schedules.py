from itertools import pairwise
from math import cos, pi

import pytest

from ssl_core.optimize.schedules import cosine, teacher_momentum, warmup_cosine


def test_cosine_at_its_ends_and_middle() -> None:
    assert cosine(2, 1, 0) == 2 and cosine(2, 1, 1) == 1 and cosine(2, 1, 0.5) == pytest.approx(1.5)
    assert cosine(2, 1, -1) == 2 and cosine(2, 1, 3) == 1


def test_warmup_rises_linearly_to_the_peak_and_falls_to_the_end() -> None:
    rates = [warmup_cosine(1.0, 0.1, step, total=100, warmup=10) for step in range(101)]
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert rates[10] == 1 and rates[100] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_no_warmup_starts_at_the_peak() -> None:
    assert warmup_cosine(0.3, 0, 0, total=5, warmup=0) == 0.3
    assert warmup_cosine(0.3, 0, 0, total=1, warmup=1) == 0.3


def test_a_teachers_momentum_rises_from_its_start_and_ends_just_short_of_one() -> None:
    momenta = [teacher_momentum(0.996, step, total=100) for step in range(1, 101)]
    assert momenta == pytest.approx([1 - 0.004 * (cos(pi * k / 100) + 1) / 2 for k in range(100)], abs=1e-12)
    assert momenta[0] == pytest.approx(0.996) and 0.999 < momenta[-1] < 1
    assert all(a < b for a, b in pairwise(momenta))
