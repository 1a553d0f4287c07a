"""Color and blur against torchvision's reference operations (v2, uint8 tensors), in uint8 levels.

Each case states what it allows: the mean and the largest absolute difference. torchvision truncates where OpenCV
rounds, floors the gray it takes the mean of, and keeps hue as a float where we have 256 of them.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as reference

from ssl_core.augment._image.blur import blur_, kernel_size, solarize_
from ssl_core.augment._image.color import JITTER, brightness_, contrast_, gray_, hue_, saturation_
from ssl_core.augment._image.color_draws import COLOR_DRAWS, ColorDraws, color_draws
from ssl_core.augment._image.color_matrix import recolor_
from tests.support.pictures import picture

Pixels = NDArray[np.uint8]


def difference(ours: Pixels, theirs: Pixels) -> tuple[float, int]:
    gap = np.abs(ours.astype(int) - theirs.astype(int))
    return float(gap.mean()), int(gap.max())


def by_torchvision(operation: Callable[..., torch.Tensor], image: Pixels, *args: object) -> Pixels:
    return operation(torch.from_numpy(image.copy()).permute(2, 0, 1), *args).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize(
    ("ours", "theirs", "amounts", "allowed"),
    [
        (brightness_, reference.adjust_brightness, (0.2, 0.7, 1.0, 1.8), (0.01, 1)),
        (contrast_, reference.adjust_contrast, (0.2, 0.7, 1.0, 1.8), (0.7, 1)),
        (saturation_, reference.adjust_saturation, (0.2, 0.7, 1.0, 1.8), (0.6, 1)),
        (hue_, reference.adjust_hue, (-0.2, -0.05, 0.1, 0.2, 0.5), (1.2, 12)),
    ],
)
def test_jitter_operations_match_torchvision(ours, theirs, amounts, allowed, size):
    for amount in amounts:
        image = picture(size, size, seed=1)
        expected = by_torchvision(theirs, image, amount)
        ours(image, amount)
        got = difference(image, expected)
        assert got[0] <= allowed[0], (amount, got)
        assert got[1] <= allowed[1], (amount, got)


def test_gray_matches_torchvision():
    image = picture(224, 224, seed=3)
    expected = by_torchvision(reference.rgb_to_grayscale, image, 3)
    gray_(image)
    mean, largest = difference(image, expected)
    assert mean <= 0.6  # theirs is floored, ours rounded
    assert largest <= 1


@pytest.mark.parametrize("threshold", [0, 1, 128, 255])
def test_solarize_equals_torchvision(threshold):
    image = picture(64, 64, seed=4)
    expected = by_torchvision(reference.solarize, image, threshold)
    solarize_(image, threshold)
    assert np.array_equal(image, expected)


@pytest.mark.parametrize("size", [32, 96, 224])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_blur_matches_torchvision(size, sigma):
    image = picture(size, size, seed=5)
    length = kernel_size(size)
    expected = by_torchvision(reference.gaussian_blur, image, [length, length], [sigma, sigma])
    blur_(image[None], np.array([0]), np.array([sigma]), length)
    mean, largest = difference(image, expected)
    assert mean <= 0.1  # ours ends at 3 sigma
    assert largest <= 1


def test_full_kernel_is_a_tenth_of_the_side():
    assert [kernel_size(size) for size in (8, 19, 32, 96, 224)] == [1, 1, 3, 9, 23]


def draws_of(count: int, **given: NDArray[np.generic]) -> ColorDraws:
    off = np.zeros(count, bool)
    parts = {
        "jitters": ~off,
        "amount": np.tile([1.0, 1.0, 1.0, 0.0], (count, 1)),
        "order": np.tile(np.arange(4), (count, 1)),
        "grays": off,
        "blurs": off,
        "sigma": np.ones(count),
        "solarizes": off,
    }
    return ColorDraws(**(parts | given))


@pytest.mark.parametrize(
    ("operation", "amount", "mean"),
    [(0, 0.6, 0.6), (1, 0.6, 0.7), (2, 0.6, 0.7), (3, 1 / 3, 1.0), (3, -1 / 3, 1.0), (3, 0.1, 10.0)],
)
def test_fused_equals_exact_one_operation_at_a_time(operation, amount, mean):
    """Nothing clips here, so only rounding is left; hue agrees at thirds of the circle and differs in between."""
    exact = (picture(64, 64, seed=6) // 2 + 64).astype(np.uint8)
    amounts = np.array([[1.0, 1.0, 1.0, 0.0]])
    amounts[0, operation] = amount
    fused = exact[None].copy()
    recolor_(fused, draws_of(1, amount=amounts))
    JITTER[operation](exact, amount)
    assert difference(fused[0], exact)[0] <= mean


def test_both_modes_follow_the_order():
    """Contrast pulls to the mean gray, which a turn of the hue changes: their order shows, the same in both modes."""
    base = (picture(32, 32, seed=7) // 3 + (0, 0, 160)).astype(np.uint8)
    results = []
    for order in ([3, 1, 0, 2], [1, 3, 0, 2], [2, 0, 1, 3]):
        amount = np.array([[1.2, 0.4, 0.7, 1 / 3]])
        exact = base.copy()
        for operation in order:
            JITTER[operation](exact, amount[0, operation])
        fused = base[None].copy()
        recolor_(fused, draws_of(1, amount=amount, order=np.array([order])))
        assert difference(fused[0], exact)[0] <= 3  # four truncations against one rounding
        results.append(fused)
    assert difference(results[0], results[1])[0] > 8


def test_gray_needs_no_jitter():
    image = picture(32, 32, seed=8)
    fused = image[None].copy()
    recolor_(fused, draws_of(1, jitters=np.array([False]), grays=np.array([True])))
    gray_(image)
    assert difference(fused[0], image)[1] <= 1


def test_draws_cover_their_ranges():
    uniform = np.random.default_rng(0).random((20_000, COLOR_DRAWS))
    draws = color_draws(uniform, (0.8, 1.5, 0.4, 0.2), (0.8, 0.2, 0.5, 0.1), (0.1, 2.0))
    low, high = draws.amount.min(axis=0), draws.amount.max(axis=0)
    assert low == pytest.approx([0.2, 0.0, 0.6, -0.2], abs=0.01)  # a factor never falls below 0
    assert high == pytest.approx([1.8, 2.5, 1.4, 0.2], abs=0.01)
    assert draws.sigma.min() == pytest.approx(0.1, abs=0.01)
    assert draws.sigma.max() == pytest.approx(2.0, abs=0.01)
    shares = [flags.mean() for flags in (draws.jitters, draws.grays, draws.blurs, draws.solarizes)]
    assert shares == pytest.approx([0.8, 0.2, 0.5, 0.1], abs=0.015)
    assert np.array_equal(np.sort(draws.order, axis=1), np.tile(np.arange(4), (20_000, 1)))
    _, counts = np.unique(draws.order, axis=0, return_counts=True)
    assert len(counts) == 24
    assert counts.std() < 60  # 833 each, sampling noise 29
