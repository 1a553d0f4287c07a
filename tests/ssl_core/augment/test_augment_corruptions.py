"""Corruptions against the published reference's own operations where a library has them, and against statistics."""

from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import ValidationError
from scipy import ndimage, stats
from torch import from_numpy
from torchvision.transforms.v2.functional import adjust_brightness

from ssl_core.augment._image.corruption_noise import poisson_bounds
from ssl_core.augment._image.corruptions import KINDS, Kind, corrupt
from ssl_core.augment.image_corrupt import ImageCorrupt
from ssl_core.augment.image_eval import ImageEval
from tests.support.pictures import picture

FIXED = {"defocus_blur", "brightness", "contrast", "pixelate", "jpeg", "gaussian_blur", "zoom_blur"}
"""Kinds that draw nothing."""
UNORDERED = {"elastic", "glass_blur"}
"""As published, one part of their settings grows while another falls; see test_augment_corruptions_published.py."""
FLAT = np.full((64, 64, 3), 128, np.uint8)


def gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def unlike(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in UNORDERED])
def test_each_severity_is_worse_than_the_one_before(kind: Kind, size: int):
    pictures = [picture(size, size, seed=i) for i in range(2)]
    distance = unlike if kind == "frost" else gap  # it dims what its ice then brightens
    damage = [
        float(np.mean([distance(corrupt(p, kind, severity, i, 7), p) for i, p in enumerate(pictures)]))
        for severity in range(1, 6)
    ]
    assert damage[0] > (0.005 if kind == "frost" else 0.1)
    # CIFAR-10-C's third and fourth motion differ beyond three standard deviations only
    assert all(worse > 0.99 * better for better, worse in pairwise(damage))
    assert damage[4] > 1.2 * damage[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_is_keyed_and_leaves_its_input(kind: Kind):
    view = picture(48, 40)
    view.flags.writeable = False
    first = corrupt(view, kind, 3, 5, 11)
    assert first.shape == view.shape and first.dtype == np.uint8
    assert np.array_equal(first, corrupt(view, kind, 3, 5, 11))
    is_random = kind not in FIXED
    assert np.array_equal(first, corrupt(view, kind, 3, 6, 11)) != is_random
    assert np.array_equal(first, corrupt(view, kind, 3, 5, 12)) != is_random
    assert corrupt(picture(1, 1), kind, 5, 0, 0).shape == (1, 1, 3)


def test_gaussian_noise_is_normal_with_the_stated_deviation():
    noise = np.concatenate(
        [corrupt(FLAT, "gaussian_noise", 4, i, 0).astype(float).ravel() - 127.5 for i in range(8)]  # half a level cut
    ) / (0.09 * 255)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert stats.kurtosis(noise) == pytest.approx(0, abs=0.06)
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01


@pytest.mark.parametrize("photons", [3, 60, 500])
def test_the_poisson_table_is_scipys(photons: int):
    bounds, width = poisson_bounds(photons)
    for level in (0, 1, 100, 255):
        want = stats.poisson.cdf(np.arange(width), photons * level / 255)
        assert np.allclose(bounds[level * width : (level + 1) * width] - level, want, atol=1e-9)


def test_shot_noise_has_the_mean_and_the_variance_of_photons():
    counts = np.concatenate([corrupt(FLAT, "shot_noise", 5, i, 0).ravel() for i in range(8)]) / 255 * 50
    assert counts.mean() == pytest.approx(50 * 128 / 255, abs=0.2)
    assert counts.var() == pytest.approx(50 * 128 / 255, rel=0.05)
    black = np.zeros((8, 8, 3), np.uint8)
    assert np.array_equal(corrupt(black, "shot_noise", 5, 0, 0), black)  # no light, no noise


def test_impulse_noise_replaces_the_stated_share_by_black_and_white():
    made = np.stack([corrupt(FLAT, "impulse_noise", 5, i, 0) for i in range(8)])
    assert set(np.unique(made)) == {0, 128, 255}
    assert (made == 0).mean() == pytest.approx(0.035, abs=0.003)
    assert (made == 255).mean() == pytest.approx(0.035, abs=0.003)


def test_brightness_raises_the_value_of_hsv():
    view = picture(64, 64, seed=3)
    made = corrupt(view, "brightness", 5, 0, 0).astype(int)
    value, want = view.max(axis=2), np.minimum(view.max(axis=2) + 0.3 * 255, 255)
    assert np.abs(made.max(axis=2) - want).max() <= 1
    bright = value > 40
    before, after = view[bright] / value[bright][:, None], made[bright] / made[bright].max(axis=1, keepdims=True)
    assert np.abs(after - before).max() < 0.03  # the color stays
    flat = adjust_brightness(from_numpy(FLAT).permute(2, 0, 1), (128 + 0.3 * 255) / 128).permute(1, 2, 0).numpy()
    assert gap(corrupt(FLAT, "brightness", 5, 0, 0), flat) <= 1
    assert corrupt(np.zeros((4, 4, 3), np.uint8), "brightness", 5, 0, 0).max() == 76


def test_contrast_shrinks_each_channel_towards_its_mean():
    view = picture(32, 32, seed=2)
    made = corrupt(view, "contrast", 5, 0, 0)
    want = (view - view.mean(axis=(0, 1))) * 0.15 + view.mean(axis=(0, 1))
    assert np.array_equal(made, want.astype(np.uint8))


def test_pixelate_and_jpeg_are_pillows():
    view = picture(224, 224, seed=1)
    small = Pillow.fromarray(view).resize((67, 67), Pillow.Resampling.BOX)
    assert gap(corrupt(view, "pixelate", 4, 0, 0), np.asarray(small.resize((224, 224), Pillow.Resampling.BOX))) < 0.6
    buffer = BytesIO()
    Pillow.fromarray(view).save(buffer, "JPEG", quality=10)
    assert gap(corrupt(view, "jpeg", 4, 0, 0), np.asarray(Pillow.open(buffer))) < 0.5


def test_defocus_is_a_disk_and_motion_a_path():
    point = np.zeros((101, 101, 3), np.uint8)
    point[50, 50] = 255
    disk = corrupt(point, "defocus_blur", 1, 0, 0)[..., 0] > 0
    assert disk.sum() == 29 and disk[50, 47:54].all() and not disk[50, 46]  # the pixels within a radius of 3
    for sample in range(5):
        path = np.argwhere(corrupt(point, "motion_blur", 1, sample, 0)[..., 0] > 3)
        angle = np.degrees(np.arctan2(*np.ptp(path, axis=0)))
        assert angle <= 47
        assert 7 <= len(path) <= 9  # 2.5 standard deviations of 3 pixels, one side
    smooth = ndimage.gaussian_filter(picture(224, 224).astype(float), (3, 3, 0), mode="nearest")
    assert gap(corrupt(picture(224, 224), "gaussian_blur", 3, 0, 0), smooth) < 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_the_chain_corrupts_the_eval_view(kind: Kind):
    images, ids = [picture(50, 60, seed=i) for i in range(3)], np.array([4, 9, 2])
    made = ImageCorrupt(ImageCorrupt.Config(size=32, kind=kind, severity=2))(images, ids, 5)
    clean = ImageEval(ImageEval.Config(size=32))(images, ids, 0)
    for i, sample in enumerate(ids):
        assert np.array_equal(made[i], corrupt(clean[i], kind, 2, int(sample), 5))


@pytest.mark.parametrize("bad", [{"severity": 0}, {"severity": 6}, {"kind": "rain"}, {"crop_fraction": 0}])
def test_a_wrong_value_names_its_key(bad: dict[str, object]):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        ImageCorrupt.Config(**bad)
