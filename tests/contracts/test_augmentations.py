"""What every file in ssl_core/augment must keep; a new file is picked up unedited."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import ValidationError

from ssl_core import catalog
from ssl_core.augment.base import Augmentation, Ragged
from ssl_core.codecs._image.decode import decode
from ssl_core.noise import salt
from tests.support.kinds import encode
from tests.support.pictures import picture
from tests.support.values import COUNT, SHAPES, SIZES, arrays, chain_of, values_for, views_of

PACKAGE = "ssl_core.augment"
NAMES = catalog.names(PACKAGE)
LIMIT = 1_000_000


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[0, 1])
def chain(name: str, request: pytest.FixtureRequest) -> Augmentation:
    return chain_of(name, request.param)


@pytest.fixture
def image_chain(chain: Augmentation) -> Augmentation:
    if chain.codec != "image":
        pytest.skip("not a chain of images")
    return chain


def batch(chain: Augmentation) -> tuple[list[Any], NDArray[np.int64]]:
    return values_for(chain), np.arange(COUNT) * 977 - 3000


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def test_view_has_the_promised_size_and_memory(chain):
    values, sample_id = batch(chain)
    view = views_of(chain, values, sample_id, salt(0, 1, 0))
    assert len(view) == len(values)
    assert view[0].nbytes == chain.spec.nbytes
    assert view[0].size == np.prod(chain.view_shape) or not chain.lossless
    assert view.flags.c_contiguous
    assert view.flags.writeable


def test_view_of_an_image_is_its_levels(image_chain):
    images, sample_id = batch(image_chain)
    view = image_chain(images, sample_id, salt(0, 1, 0))
    channels, height, width = image_chain.view_shape
    assert view.shape == (len(images), height, width, channels)
    assert view.dtype == np.uint8


def test_view_of_a_sample_depends_on_neither_batch_nor_order(chain):
    """Invariant 2: same bytes alone, in any order, in other company, and on a second call."""
    values, sample_id = batch(chain)
    together = views_of(chain, values, sample_id, salt(7, 3, 1))
    order = np.array([5, 2, 7, 0, 4, 1, 6, 3])
    shuffled = views_of(chain, [values[i] for i in order], sample_id[order], salt(7, 3, 1))
    assert same(shuffled, together[order])
    for i in range(len(values)):
        assert same(views_of(chain, [values[i]], sample_id[i : i + 1], salt(7, 3, 1))[0], together[i])
    stranger = views_of(chain, [values_for(chain, 20)[-1], values[3]], np.array([5, sample_id[3]]), salt(7, 3, 1))
    assert same(stranger[1], together[3])


def test_values_are_left_as_they_were(chain):
    values, sample_id = batch(chain)
    before = [array.copy() for array in arrays(values)]
    for array in arrays(values):
        array.flags.writeable = False
    views_of(chain, values, sample_id, salt(0, 0, 0))
    assert all(same(a, b) for a, b in zip(arrays(values), before, strict=True))


def test_another_salt_gives_another_view_or_the_chain_does_not_draw(chain):
    value = values_for(chain)[2]
    views = {views_of(chain, [value], np.array([5]), salt(0, epoch, 0)).tobytes() for epoch in range(8)}
    assert len(views) == (8 if chain.draws else 1)


def test_an_empty_batch_is_an_empty_view(chain):
    values, sample_id = batch(chain)
    view = views_of(chain, [], np.zeros(0, np.int64), salt(0))
    assert view.shape == (0, *views_of(chain, values, sample_id, salt(0)).shape[1:])


def test_gray_in_two_dimensions_is_refused(image_chain):
    with pytest.raises(ValueError, match="uint8"):
        image_chain([np.zeros((8, 8), np.uint8)], np.array([0]), salt(0))


def test_reduction_is_a_factor_keyed_by_sample(chain):
    sides = len(SHAPES[0])
    shapes, sample_id = np.array(SHAPES) * 5, np.arange(COUNT) * 977 - 3000
    factor = chain.reduction(shapes, sample_id, salt(7, 3, 1))
    assert factor.shape == (COUNT,)
    assert factor.dtype == np.int64
    assert set(factor.tolist()) <= {1, 2, 4, 8}
    for i in range(COUNT):
        assert chain.reduction(shapes[i : i + 1], sample_id[i : i + 1], salt(7, 3, 1)).tolist() == [factor[i]]
    assert chain.reduction(np.zeros((0, sides), np.int64), np.zeros(0, np.int64), salt(0)).tolist() == []


def test_view_of_a_reduced_image_is_that_of_the_whole_one(image_chain):
    """Mean difference in levels, of the worst view. Measured: at most 9, after jitter; views of two pictures are 26 to
    58 apart at the least."""
    pixels = [picture(375, 500 - 8 * i, seed=i) for i in range(16)]
    files = [encode("JPEG", Pillow.fromarray(image), quality=95) for image in pixels]
    sample_id = np.arange(16) * 977 - 3000
    factor = image_chain.reduction(np.array([image.shape[:2] for image in pixels]), sample_id, salt(7, 3, 1))
    whole = [decode(file, max_pixels=LIMIT) for file in files]
    reduced = [decode(file, max_pixels=LIMIT, reduction=n) for file, n in zip(files, factor.tolist(), strict=True)]
    gap = image_chain(whole, sample_id, salt(7, 3, 1)).astype(int) - image_chain(reduced, sample_id, salt(7, 3, 1))
    assert np.abs(gap).mean(axis=(1, 2, 3)).max() <= 15


def test_finish_gives_what_the_encoder_reads(chain):
    values, sample_id = batch(chain)
    finished = chain.finish(torch.from_numpy(views_of(chain, values, sample_id, salt(1))))
    assert finished.shape == (len(values), *chain.view_shape)
    assert finished.dtype == (torch.int64 if chain.spec.num_ids else torch.float32)
    assert finished.isfinite().all()


def test_a_ragged_view_is_valid_as_far_as_its_length(chain):
    values, sample_id = batch(chain)
    made = chain(values, sample_id, salt(1))
    assert isinstance(made, Ragged) == chain.spec.ragged
    if isinstance(made, Ragged):
        there = torch.from_numpy(np.arange(made.x.shape[1]) < made.length[:, None])
        view = torch.from_numpy(made.x)
        assert torch.equal(chain.valid(view), there) and torch.equal(chain.valid(chain.finish(view)), there)
        assert 0 < made.length.min() < made.length.max() <= made.x.shape[1]
    else:
        assert chain.valid(torch.from_numpy(made)) is None


def test_finish_normalizes_into_channels_last(image_chain):
    images, sample_id = batch(image_chain)
    view = torch.from_numpy(image_chain(images, sample_id, salt(1)))
    finished = image_chain.finish(view)
    assert finished.is_contiguous(memory_format=torch.channels_last)
    pixel = view[3, 4, 5].float() / 255
    expected = (pixel - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(finished[3, :, 4, 5], expected, rtol=1e-5, atol=1e-5)


def test_restore_undoes_finish(chain):
    values, sample_id = batch(chain)
    view = torch.from_numpy(views_of(chain, values, sample_id, salt(2)))
    restored = chain.restore(chain.finish(view))
    if not chain.lossless:  # shown and scored all the same
        torch.testing.assert_close(chain.pictures(restored.numpy()).shape, chain.pictures(view.numpy()).shape)
        assert chain.floor(restored).isfinite().all()
        return
    assert restored.dtype == view.dtype
    assert torch.equal(restored[~view.isnan()], view[~view.isnan()])


def test_restored_pixels_are_clipped(image_chain):
    bright = torch.full((1, *image_chain.view_shape), 99.0)
    assert torch.equal(image_chain.restore(bright).unique(), torch.tensor([255]).byte())


def test_floor_is_a_vector_of_each_view(chain):
    values, sample_id = batch(chain)
    view = torch.from_numpy(views_of(chain, values, sample_id, salt(2)))
    floor = chain.floor(view)
    assert floor.ndim == 2 and len(floor) == len(values) and floor.dtype == torch.float32
    assert floor.isfinite().all()
    torch.testing.assert_close(chain.floor(view[2:4]), floor[2:4])
    assert len(floor.unique(dim=0)) == len(values)


def test_config_is_named_after_its_file_and_refuses_typos(name):
    component = catalog.find(PACKAGE, name)
    assert component.Config().name == name
    assert catalog.summary(PACKAGE, name)
    key = next(iter(SIZES[component.codec][0]))
    with pytest.raises(ValidationError, match=f"{key}e"):
        component.Config(**{f"{key}e": 32})
    with pytest.raises(ValidationError, match=key):
        component.Config(**{key: 0})


def test_importing_a_chain_imports_no_torch(name):
    """Ray Data's processes never pay for torch: 2 s and 200 MB each."""
    code = (
        f"from ssl_core import catalog; catalog.find('{PACKAGE}', '{name}'); import sys; print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"
