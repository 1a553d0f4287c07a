"""Crops and resizing against torchvision."""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from ssl_core.augment._image.crop import CROP_DRAWS, CropConfig, crop_boxes, random_crops
from ssl_core.augment.image_eval import ImageEval
from ssl_core.codecs._image.resize import image_shapes, resize
from tests.support.pictures import picture


@pytest.mark.parametrize(
    ("shrink", "mean"),
    [(0.3, 0.3), (0.9, 0.3), (1.0, 0.0), (1.2, 1.1), (1.5, 1.0), (2.0, 0.3), (2.5, 0.6), (3.0, 0.6), (5.0, 3.0)],
)
def test_resize_matches_torchvision_antialiased(shrink, mean):
    """Mean absolute difference in uint8 levels on a picture with detail at every scale."""
    size = 96
    image = picture(round(size * shrink), round(size * shrink), seed=1)
    expected = reference.resize(torch.from_numpy(image).permute(2, 0, 1), [size, size], antialias=True)
    out = np.empty((size, size, 3), np.uint8)
    resize(image, out)
    gap = np.abs(out.astype(int) - expected.permute(1, 2, 0).numpy().astype(int))
    assert gap.mean() <= mean
    assert shrink > 1 or gap.max() <= 1


def test_resize_shrinks_each_axis_by_its_own_factor():
    image = picture(200, 60, seed=2)
    out = np.empty((80, 80, 3), np.uint8)
    resize(image, out)
    expected = reference.resize(torch.from_numpy(image).permute(2, 0, 1), [80, 80], antialias=True)
    assert np.abs(out.astype(int) - expected.permute(1, 2, 0).numpy().astype(int)).mean() <= 0.8


def test_resized_crop_and_flip_match_torchvision():
    images = [picture(48 + 9 * i, 80 - 7 * i, seed=i) for i in range(6)]
    draws = np.random.default_rng(0).random((6, CROP_DRAWS))
    config = CropConfig(name="crop", size=64)
    views = random_crops(images, draws, config)
    boxes = crop_boxes(image_shapes(images), draws, config).tolist()
    flips = draws[:, -1] < 0.5
    assert set(flips.tolist()) == {True, False}
    for image, box, flip, view in zip(images, boxes, flips, views, strict=True):
        expected = reference.resized_crop(torch.from_numpy(image).permute(2, 0, 1), *box, [64, 64], antialias=True)
        expected = reference.hflip(expected) if flip else expected
        assert np.abs(view.astype(int) - expected.permute(1, 2, 0).numpy().astype(int)).mean() <= 0.5


def test_boxes_are_distributed_as_torchvision_draws_them():
    """Quantiles of area, aspect ratio and position of 4,000 crops of one image, against RandomResizedCrop."""
    height, width, count = 120, 200, 4_000
    shape = np.tile([height, width], (count, 1))
    draws = np.random.default_rng(1).random((count, CROP_DRAWS))
    ours = crop_boxes(shape, draws, CropConfig(name="crop"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blank = torch.empty(3, height, width)
        theirs = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)])
    for measure in (
        lambda b: b[:, 2] * b[:, 3] / (height * width),
        lambda b: b[:, 3] / b[:, 2],
        lambda b: (b[:, 0] + b[:, 2] / 2) / height,
        lambda b: (b[:, 1] + b[:, 3] / 2) / width,
    ):
        quantiles = np.linspace(0.05, 0.95, 10)
        assert np.quantile(measure(ours), quantiles) == pytest.approx(np.quantile(measure(theirs), quantiles), abs=0.03)


def test_boxes_stay_inside_for_every_shape():
    shapes = np.array([[1, 1], [1, 500], [500, 1], [2, 3], [7, 1000], [20_000, 30]]).repeat(200, axis=0)
    draws = np.random.default_rng(2).random((len(shapes), CROP_DRAWS))
    draws[::7] = np.nextafter(1.0, 0)
    top, left, height, width = crop_boxes(shapes, draws, CropConfig(name="crop")).T
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert np.all(top + height <= shapes[:, 0])
    assert np.all(left + width <= shapes[:, 1])


def test_a_crop_that_fits_no_ratio_is_the_largest_centered_one():
    """torchvision's fallback: 1000 x 30 holds no crop of ratio 3/4 to 4/3 with half of its area."""
    config = CropConfig(name="crop", crop_min=0.5)
    draws = np.random.default_rng(3).random((1, CROP_DRAWS))
    assert crop_boxes(np.array([[30, 1000]]), draws, config).tolist() == [[0, 480, 30, 40]]
    assert crop_boxes(np.array([[1000, 30]]), draws, config).tolist() == [[480, 0, 40, 30]]


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_not_an_image_is_refused(image):
    with pytest.raises(ValueError, match=r"must be \[H, W, 3\] uint8"):
        image_shapes([image])


def test_eval_view_equals_resize_then_center_crop():
    image = picture(300, 400, seed=4)
    view = ImageEval(ImageEval.Config(size=112))([image], np.array([0]), salt=0)[0]
    theirs = reference.resize(torch.from_numpy(image).permute(2, 0, 1), [128], antialias=True)
    theirs = reference.center_crop(theirs, [112, 112]).permute(1, 2, 0).numpy()
    assert np.abs(view.astype(int) - theirs.astype(int)).mean() <= 2  # sides are rounded to whole source pixels


def test_eval_view_of_an_image_of_its_own_size_is_the_image():
    image = picture(32, 32, seed=5)
    assert np.array_equal(ImageEval(ImageEval.Config(size=32))([image], np.array([0]), salt=0)[0], image)
