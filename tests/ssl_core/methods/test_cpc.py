from typing import Any

import pytest
import torch

from ssl_core.encoders.base import Encoder
from ssl_core.methods.cpc import CPC
from ssl_core.nn.lab import gray_of
from ssl_core.nn.rows import RowContext
from tests.support.tiny import image_spec, tiny_encoder


def _cpc(encoder: Encoder | None = None, size: int = 16, **settings: Any) -> CPC:
    torch.manual_seed(0)
    small = {"patch": 8, "stride": 4, "context_dim": 8, "context_depth": 2, "target_dim": 16}
    made = encoder or tiny_encoder(spec=image_spec(3, size, size))
    return CPC(CPC.Config.model_validate(small | settings), made)


def test_the_context_of_a_row_knows_nothing_of_rows_below() -> None:
    torch.manual_seed(0)
    context = RowContext(6, 8, depth=3)
    x = torch.randn(1, 6, 5, 4)
    for row in range(4):
        spoiled = x.clone()
        spoiled[:, :, row + 1 :] = 9.0
        assert torch.equal(context(spoiled)[:, :, : row + 1], context(x)[:, :, : row + 1])
        other = x.clone()
        other[:, :, row] = 9.0
        assert not torch.allclose(context(other)[:, :, row + 1], context(x)[:, :, row + 1])  # but of those above


@pytest.mark.parametrize(("stride", "ignored", "rows"), [(4, 1, 3), (8, 0, 2), (2, 3, 5)])
def test_rows_that_share_pixels_with_the_context_are_not_asked_for(stride: int, ignored: int, rows: int) -> None:
    method = _cpc(stride=stride)
    assert method.grid == (rows, rows) and method.ignored == ignored
    assert [ahead * stride >= 8 for ahead in method.ahead] == [True] * len(method.ahead) and len(method.ahead) >= 1
    assert (ignored + 1) * stride >= 8 > ignored * stride


def test_patches_overlap_in_order_and_some_have_no_color() -> None:
    view, ids = torch.rand(6, 3, 16, 16), torch.arange(6)
    patches = _cpc(gray=0.0)._patches(view, ids, 0).unflatten(0, (6, 3, 3))
    assert torch.equal(patches[2, 1, 2], view[2, :, 4:12, 8:16])
    mixed = _cpc(gray=0.5)._patches(view, ids, 0).unflatten(0, (6, 3, 3))
    gray = torch.stack(
        [(mixed[i] == gray_of(patches[i].flatten(0, 1)).unflatten(0, (3, 3))).flatten(2).all(2) for i in ids]
    )
    kept = (mixed == patches).flatten(3).all(3)
    assert (gray ^ kept).all() and 0.25 < gray.float().mean() < 0.75
    alone = _cpc(gray=0.5)._patches(view[3:4], ids[3:4], 0)
    assert torch.equal(alone, mixed[3].flatten(0, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": 20}, r"method\.patch: 20 px do not fit into views of 16 x 16 px"),
        ({"stride": 5}, r"method\.stride: 2 rows of patches of 8 px, 5 px apart, leave none to predict"),
    ],
)
def test_patches_that_do_not_fit_are_named(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _cpc(**settings)


def test_an_encoder_that_cannot_read_the_patches_is_named() -> None:
    with pytest.raises(ValueError, match=r"encoder\.patch_size: 4 does not divide the view size 6"):
        _cpc(tiny_encoder("vit", image_spec(3, 16, 16)), patch=6, stride=3)
    with pytest.raises(ValueError, match=r"method\.gray: views of 1 channels have no color to drop"):
        _cpc(tiny_encoder(spec=image_spec(1, 16, 16)))
