"""What every file in ssl_core/augment must keep; a new file is picked up unedited."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import ValidationError

from ssl_core import catalog
from ssl_core.augment.base import Augmentation
from ssl_core.codecs._image.decode import decode
from ssl_core.noise import salt
from tests.support.kinds import encode
from tests.support.pictures import picture

PACKAGE = "ssl_core.augment"
NAMES = catalog.names(PACKAGE)
SHAPES = [(40, 40), (1, 1), (64, 33), (200, 150), (24, 90), (3, 200), (32, 32), (97, 31)]
LIMIT = 1_000_000


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[32, 17])
def chain(name: str, request: pytest.FixtureRequest) -> Augmentation:
    component = catalog.find(PACKAGE, name)
    built: Augmentation = component(component.Config(size=request.param))
    return built


def batch() -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    return [picture(*shape, seed=i) for i, shape in enumerate(SHAPES)], np.arange(len(SHAPES)) * 977 - 3000


def test_view_has_the_promised_shape_and_type(chain):
    images, sample_id = batch()
    view = chain(images, sample_id, salt(0, 1, 0))
    channels, height, width = chain.view_shape
    assert view.shape == (len(images), height, width, channels)
    assert view.dtype == np.uint8
    assert view.flags.c_contiguous
    assert view.flags.writeable


def test_view_of_a_sample_depends_on_neither_batch_nor_order(chain):
    """Invariant 2: same bytes alone, in any order, in other company, and on a second call."""
    images, sample_id = batch()
    together = chain(images, sample_id, salt(7, 3, 1))
    order = np.array([5, 2, 7, 0, 4, 1, 6, 3])
    shuffled = chain([images[i] for i in order], sample_id[order], salt(7, 3, 1))
    assert np.array_equal(shuffled, together[order])
    for i in range(len(images)):
        assert np.array_equal(chain([images[i]], sample_id[i : i + 1], salt(7, 3, 1))[0], together[i])
    stranger = chain([picture(50, 60, seed=99), images[3]], np.array([5, sample_id[3]]), salt(7, 3, 1))
    assert np.array_equal(stranger[1], together[3])


def test_images_are_left_as_they_were(chain):
    images, sample_id = batch()
    before = [image.copy() for image in images]
    for image in images:
        image.flags.writeable = False
    chain(images, sample_id, salt(0, 0, 0))
    assert all(np.array_equal(a, b) for a, b in zip(images, before, strict=True))


def test_another_salt_gives_another_view_or_the_chain_does_not_draw(chain):
    image = picture(64, 64, seed=8)
    views = {chain([image], np.array([5]), salt(0, epoch, 0)).tobytes() for epoch in range(8)}
    assert len(views) == (8 if chain.draws else 1)


def test_an_empty_batch_is_an_empty_view(chain):
    view = chain([], np.zeros(0, np.int64), salt(0))
    assert view.shape == (0, *chain.view_shape[1:], chain.view_shape[0])


def test_gray_in_two_dimensions_is_refused(chain):
    with pytest.raises(ValueError, match="uint8"):
        chain([np.zeros((8, 8), np.uint8)], np.array([0]), salt(0))


def test_reduction_is_a_factor_keyed_by_sample(chain):
    shapes, sample_id = np.array(SHAPES) * 5, np.arange(len(SHAPES)) * 977 - 3000
    factor = chain.reduction(shapes, sample_id, salt(7, 3, 1))
    assert factor.shape == (len(SHAPES),)
    assert factor.dtype == np.int64
    assert set(factor.tolist()) <= {1, 2, 4, 8}
    for i in range(len(SHAPES)):
        assert chain.reduction(shapes[i : i + 1], sample_id[i : i + 1], salt(7, 3, 1)).tolist() == [factor[i]]
    assert chain.reduction(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), salt(0)).tolist() == []


def test_view_of_a_reduced_image_is_that_of_the_whole_one(chain):
    """Mean difference in levels, of the worst view. Measured: at most 9, after jitter; views of two pictures are 26 to
    58 apart at the least."""
    pixels = [picture(375, 500 - 8 * i, seed=i) for i in range(16)]
    files = [encode("JPEG", Pillow.fromarray(image), quality=95) for image in pixels]
    sample_id = np.arange(16) * 977 - 3000
    factor = chain.reduction(np.array([image.shape[:2] for image in pixels]), sample_id, salt(7, 3, 1))
    whole = [decode(file, max_pixels=LIMIT) for file in files]
    reduced = [decode(file, max_pixels=LIMIT, reduction=n) for file, n in zip(files, factor.tolist(), strict=True)]
    gap = chain(whole, sample_id, salt(7, 3, 1)).astype(int) - chain(reduced, sample_id, salt(7, 3, 1))
    assert np.abs(gap).mean(axis=(1, 2, 3)).max() <= 15


def test_finish_normalizes_into_channels_last(chain):
    images, sample_id = batch()
    view = torch.from_numpy(chain(images, sample_id, salt(1)))
    finished = chain.finish(view)
    assert finished.shape == (len(images), *chain.view_shape)
    assert finished.dtype == torch.float32
    assert finished.is_contiguous(memory_format=torch.channels_last)
    pixel = view[3, 4, 5].float() / 255
    expected = (pixel - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(finished[3, :, 4, 5], expected, rtol=1e-5, atol=1e-5)


def test_restore_undoes_finish(chain):
    images, sample_id = batch()
    view = torch.from_numpy(chain(images, sample_id, salt(2)))
    assert torch.equal(chain.restore(chain.finish(view)), view)
    assert torch.equal(chain.restore(torch.full((1, *chain.view_shape), 99.0)).unique(), torch.tensor([255]).byte())


def test_config_is_named_after_its_file_and_refuses_typos(name):
    component = catalog.find(PACKAGE, name)
    assert component.Config().name == name
    assert catalog.summary(PACKAGE, name)
    with pytest.raises(ValidationError, match="sizee"):
        component.Config(sizee=32)
    with pytest.raises(ValidationError, match="size"):
        component.Config(size=0)


def test_importing_a_chain_imports_no_torch(name):
    """Ray Data's processes never pay for torch: 2 s and 200 MB each."""
    code = (
        f"from ssl_core import catalog; catalog.find('{PACKAGE}', '{name}'); import sys; print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"
