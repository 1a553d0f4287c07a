"""Glass, zoom, weather and bends against the published procedure, done the slow way with the same draws."""

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ssl_core.augment._image.corruption_blur import zoomed
from ssl_core.augment._image.corruption_digital import smoother
from ssl_core.augment._image.corruption_weather import plasma
from ssl_core.augment._image.corruptions import COMMON, KINDS, Kind, corrupt
from ssl_core.noise import keyed_uniform, salt
from tests.support.pictures import picture

BLACK = np.zeros((32, 32, 3), np.uint8)
FLAT = np.full((64, 64, 3), 128, np.uint8)
SIDES, SEVERITIES = (32, 224), range(1, 6)
GLASS = {
    32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
}
ELASTIC = {
    32: ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
    224: ((488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)),
}


def draws(kind: Kind, sample_id: int, key: int, count: int) -> NDArray[np.float64]:
    return keyed_uniform(np.array([sample_id]), count, salt(key, KINDS.index(kind)))[0]


def gap(a: NDArray, b: NDArray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_the_papers_fifteen_are_there():
    assert len(COMMON) == 15 and set(KINDS) - set(COMMON) == {"gaussian_blur"}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_moves_the_pixels_that_the_published_loop_moves(side: int, severity: int):
    view = picture(side, side, seed=severity)
    sigma, reach, rounds = GLASS[side][severity - 1]

    def blurred(x: NDArray) -> NDArray:
        return ndimage.gaussian_filter(x.astype(float), (sigma, sigma, 0), mode="nearest").astype(np.uint8)

    x, scanned = blurred(view), range(side - reach, reach, -1)
    u = draws("glass_blur", 4, 9, 2 * rounds * len(scanned) ** 2).reshape(2, -1)
    moves = iter((np.floor(u * 2 * reach).astype(int) - reach).T.tolist())
    for _, h, w in product(range(rounds), scanned, scanned):
        down, right = next(moves)
        x[h, w], x[h + down, w + right] = x[h + down, w + right], x[h, w]
    made = corrupt(view, "glass_blur", severity, 4, 9)
    assert gap(made, blurred(x)) < 1  # float32 against float64, cut to levels twice
    assert gap(made, corrupt(view, "glass_blur", severity, 5, 9)) > gap(made, blurred(x))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("factor", [1, 1.01, 1.1, 1.28, 2.25, 4.5])
def test_a_zoom_is_scipys(side: int, factor: float):
    view = picture(side, side, seed=2).astype(np.float32)
    kept = math.ceil(side / factor)
    first = (side - kept) // 2
    large = ndimage.zoom(view[first : first + kept, first : first + kept], (factor, factor, 1), order=1)
    trim = (len(large) - side) // 2
    want = large[trim : trim + side, trim : trim + side]
    assert gap(zoomed(view, factor), want) < 0.3
    assert np.array_equal(zoomed(view[..., 0], factor), zoomed(view, factor)[..., 0])


def test_zoom_blur_keeps_a_flat_view_and_averages_the_published_factors():
    assert gap(corrupt(FLAT, "zoom_blur", 5, 0, 0), FLAT) <= 1
    view = picture(224, 224, seed=1).astype(np.float32)
    factors = [1, 1.03, 1.06, 1.09, 1.12, 1.15, 1.18, 1.21, 1.24, 1.27, 1.3]
    want = (view + np.sum([zoomed(view, factor) for factor in factors], axis=0)) / 12
    assert gap(corrupt(view.astype(np.uint8), "zoom_blur", 5, 0, 0), want) < 0.6


def test_plasma_is_the_mean_of_four_neighbors_and_a_jitter_at_every_scale():
    side, decay = 8, 2.0
    u = np.random.default_rng(0).uniform(size=side * side - 1)
    height, taken, step, jitter = np.zeros((side, side)), 0, side, 100.0
    while step > 1:
        half = step // 2
        for rows, columns, around in (
            (half, half, ((-half, -half), (-half, half), (half, -half), (half, half))),
            (half, 0, ((-half, 0), (half, 0), (0, -half), (0, half))),
            (0, half, ((-half, 0), (half, 0), (0, -half), (0, half))),
        ):
            for row, column in product(range(rows, side, step), range(columns, side, step)):
                near = [height[(row + a) % side, (column + b) % side] for a, b in around]
                height[row, column] = np.mean(near) + jitter * jitter * (2 * u[taken] - 1)
                taken += 1
        step, jitter = half, jitter / decay
    assert taken == len(u)
    assert np.allclose(plasma(u, side, decay), (height - height.min()) / np.ptp(height))


def test_fog_leaves_the_brightest_level_and_grays_the_rest():
    made = corrupt(FLAT, "fog", 5, 3, 0)
    assert made.max() in (127, 128)
    assert made.min() == int(128 * 128 / (128 + 1.5 * 255))
    assert np.array_equal(made[..., 0], made[..., 2])
    assert corrupt(BLACK, "fog", 5, 3, 0).max() == 0  # as published: nothing is brighter than the brightest


def test_snow_whitens_and_falls_from_both_ends():
    for severity, kept in enumerate((0.95, 0.9, 0.9, 0.85, 0.8), start=1):
        made = corrupt(BLACK, "snow", severity, 1, 0)
        assert made.min() == int(255 * (1 - kept) * 0.5 + 1e-3)
        assert np.array_equal(made, np.rot90(made, 2)) and np.array_equal(made[..., 0], made[..., 1])
        assert made.max() > made.min() + 30


def test_frost_adds_the_same_bluish_ice_in_the_published_share():
    mild, severe = (corrupt(BLACK, "frost", severity, 1, 0).astype(float) for severity in (1, 5))
    assert gap(severe * 0.2 / 0.45, mild) < 1
    assert (severe[..., 2] >= severe[..., 0]).all() and severe.mean(axis=(0, 1))[2] > severe.mean(axis=(0, 1))[0] + 5
    assert 0.2 < severe.max() / (0.45 * 255) <= 1 and severe.std() > 10
    lit = corrupt(FLAT[:32, :32], "frost", 5, 1, 0)
    assert gap(lit, np.minimum(0.75 * 128 + severe, 255)) <= 1


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_shifts_three_corners_and_bends_by_smoothed_noise(side: int, severity: int):
    strength, sigma, shift = ELASTIC[side][severity - 1]
    view = picture(side, side, seed=severity)
    u = 2 * draws("elastic", 2, 5, 6 + 2 * side * side) - 1
    corner = side // 2 + side // 3 * np.array([[1, 1], [1, -1], [-1, -1]])  # x, y
    to = np.linalg.solve(np.c_[corner, np.ones(3)], corner + shift * u[:6].reshape(3, 2))  # [x, y, 1] @ to
    linear, offset = np.linalg.inv(to[:2].T)[::-1, ::-1], to[2]
    bent = np.stack(
        [
            ndimage.affine_transform(
                view[..., c].astype(float), linear, offset=-linear @ offset[::-1], order=1, mode="mirror"
            )
            for c in range(3)
        ],
        axis=2,
    )
    right, down = (
        strength * ndimage.gaussian_filter(noise, sigma, mode="reflect", truncate=3)
        for noise in u[6:].reshape(2, side, side)
    )
    y, x = np.mgrid[:side, :side]
    want = [ndimage.map_coordinates(bent[..., c], (y + down, x + right), order=1, mode="reflect") for c in range(3)]
    made = corrupt(view, "elastic", severity, 2, 5)
    assert gap(made, np.stack(want, axis=2)) < 1
    assert gap(made, view) > 2


@pytest.mark.parametrize("sigma", [0, 0.96, 6.4, 170.8])
def test_the_smoother_is_scipys_filter_with_mirrored_borders(sigma: float):
    noise = np.random.default_rng(1).normal(size=32)
    want = ndimage.gaussian_filter1d(noise, sigma, mode="reflect", truncate=3) if sigma else noise
    assert np.allclose(smoother(32, sigma) @ noise, want)
