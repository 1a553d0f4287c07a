"""Colors changed on the training device against colors changed in the data tasks: same draws, same views."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssl_core.augment._image.blur import blur_kernels
from ssl_core.augment.image_crop import ImageCrop
from ssl_core.augment.image_crop_jitter import ImageCropJitter
from ssl_core.codecs._image.opencv import cv2
from ssl_core.noise import salt
from tests.support.pictures import picture

KEY = salt(1, 2, 3)
ALL = {"gray": 0.3, "solarize": 0.3}  # jitter and blur are on by default
COUNTS = {32: 192, 224: 24}


def chain(where: str, **knobs: object) -> ImageCropJitter:
    return ImageCropJitter(ImageCropJitter.Config.model_validate({"where": where, **knobs}))


def batch(size: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    images = [picture(size + 20, size + 8, seed=i) for i in range(COUNTS[size])]
    return images, np.arange(len(images)) * 31 - 400


def finished(worker: ImageCropJitter, images: list[NDArray[np.uint8]], sample_id: NDArray[np.int64]) -> torch.Tensor:
    return worker.finish(torch.from_numpy(worker(images, sample_id, KEY)), sample_id, KEY)


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize(
    "knobs",
    [ALL, ALL | {"strength": 2.0, "hue": 0.25}, {"jitter": 1, "gray": 0, "blur": 0}, {"jitter": 0, "gray": 1}],
    ids=["all", "strong", "jitter alone", "gray and blur"],
)
def test_both_places_give_the_same_views(size, knobs):
    """In uint8 levels. Measured: at most 2e-5 on average; the largest gap is 1."""
    images, sample_id = batch(size)
    data = chain("data", size=size, **knobs)
    worker = chain("worker", size=size, **knobs)
    expected = data(images, sample_id, KEY)
    gap = np.abs(worker.restore(finished(worker, images, sample_id)).numpy().astype(int) - expected.astype(int))
    assert gap.mean() <= 1e-3
    assert gap.max() <= 1
    plain = ImageCrop(ImageCrop.Config(size=size, crop_min=0.08))(images, sample_id, KEY)
    assert np.abs(plain.astype(int) - expected.astype(int)).mean() > 3  # there is something to agree on


@pytest.mark.parametrize("threshold", [0, 1, 100, 255, 256])
def test_solarize_is_the_same(threshold):
    images, sample_id = batch(32)
    knobs = {"size": 32, "jitter": 0, "gray": 0, "blur": 0, "solarize": 0.5, "solarize_threshold": threshold}
    worker = chain("worker", **knobs)
    restored = worker.restore(finished(worker, images, sample_id)).numpy()
    assert np.array_equal(restored, chain("data", **knobs)(images, sample_id, KEY))


def test_kernels_are_those_of_opencv():
    sigma = np.array([0.1, 0.4, 1.0, 1.7, 2.0])
    for row, kernel in zip(sigma.tolist(), blur_kernels(sigma, 23), strict=True):
        length = min(23, 2 * int(np.ceil(3 * row)) + 1)
        expected = np.zeros(23, np.float32)
        expected[11 - length // 2 : 12 + length // 2] = cv2.getGaussianKernel(length, row, cv2.CV_32F)[:, 0]
        np.testing.assert_allclose(kernel, expected, rtol=1e-6, atol=1e-9)


def test_neither_order_nor_company_changes_a_view():
    """Invariant 2. On a CPU the bits have always been equal; asked for is half a level, as libraries choose algorithms
    by the size of a batch."""
    images, sample_id = batch(32)
    worker = chain("worker", size=32, **ALL)
    view = torch.from_numpy(worker(images, sample_id, KEY))
    together = worker.finish(view, sample_id, KEY)
    close = {"rtol": 0, "atol": 0.5 / 57}  # a level is 1 / 57 to 1 / 58 after normalization
    order = np.random.default_rng(0).permutation(len(sample_id))
    torch.testing.assert_close(worker.finish(view[order], sample_id[order], KEY), together[order], **close)
    for row in range(0, len(sample_id), 16):
        alone = worker.finish(view[row : row + 1], sample_id[row : row + 1], KEY)
        torch.testing.assert_close(alone[0], together[row], **close)


def test_what_travels_is_the_crop_and_stays_as_it_was():
    images, sample_id = batch(32)
    worker = chain("worker", size=32, **ALL)
    sent = torch.from_numpy(worker(images, sample_id, KEY))
    plain = ImageCrop(ImageCrop.Config(size=32, crop_min=0.08))(images, sample_id, KEY)
    assert np.array_equal(sent.numpy(), plain)
    view = worker.finish(sent, sample_id, KEY)
    assert np.array_equal(sent.numpy(), plain)
    assert view.shape == (len(images), 3, 32, 32)
    assert view.dtype == torch.float32
    assert view.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(worker.finish(sent, sample_id, salt(9)), view)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(worker.finish(sent, sample_id, KEY), view)


@pytest.mark.parametrize("size", [1, 9, 19, 20])
def test_views_too_small_to_blur(size):
    worker, data = (chain(where, size=size, **ALL) for where in ("worker", "data"))
    images, sample_id = [picture(30, 30, seed=i) for i in range(20)], np.arange(20)
    gap = worker.restore(finished(worker, images, sample_id)).numpy().astype(int) - data(images, sample_id, KEY)
    assert np.abs(gap).max() <= 1
    assert finished(worker, [], sample_id[:0]).shape == (0, 3, size, size)


def test_colors_cannot_be_changed_without_the_draws():
    view = torch.zeros(4, 32, 32, 3, dtype=torch.uint8)
    worker = chain("worker", size=32)
    for given in ((), (np.arange(4),), (None, KEY), (np.arange(3), KEY)):
        with pytest.raises(ValueError, match="where: worker"):
            worker.finish(view, *given)
    assert torch.equal(chain("data", size=32).finish(view), chain("data", size=32).finish(view, np.arange(4), KEY))


@pytest.mark.gpu
def test_a_gpu_gives_the_views_of_a_cpu():
    images, sample_id = batch(224)
    worker = chain("worker", size=224, **ALL)
    view = torch.from_numpy(worker(images, sample_id, KEY))
    there = worker.finish(view.cuda(), sample_id, KEY)
    assert there.is_contiguous(memory_format=torch.channels_last)
    gap = worker.restore(there).cpu().int() - worker.restore(worker.finish(view, sample_id, KEY)).int()
    assert gap.abs().max() <= 1
    assert gap.abs().float().mean() <= 1e-3
