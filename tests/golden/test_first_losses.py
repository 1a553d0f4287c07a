import json

import pytest

from tests.golden.first_losses import FILE, first_losses, pairs

GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("pair", pairs())
def test_first_losses_are_the_recorded_ones(pair: str) -> None:
    assert pair in GOLDEN, "record it: python -m tests.golden.first_losses"
    # other CPUs and BLAS builds round differently; a changed initialization, mask or loss moves far more
    assert first_losses(pair) == pytest.approx(GOLDEN[pair], rel=1e-3)


def test_nothing_recorded_is_gone() -> None:
    assert set(GOLDEN) == set(pairs())
