"""Every file in ssl_core/encoders, held to the same promises. Nothing here names an encoder."""

import pytest
import torch

from ssl_core import catalog
from ssl_core.encoders._at_layers import AtLayers
from ssl_core.encoders.base import Encoder, PatchEncoder
from ssl_core.nn.masking import random_split, take
from ssl_core.noise import salt
from ssl_core.spec import IMAGE_AXES, MEL_AXES, SERIES_AXES, TOKEN_AXES, ViewSpec
from tests.support.tiny import SMALL_ENCODERS, installed_encoders, tiny_encoder, tiny_spec, tiny_views

ENCODERS = installed_encoders()
every_encoder = pytest.mark.parametrize("name", ENCODERS)
patch_encoders = pytest.mark.parametrize("name", [n for n in ENCODERS if isinstance(tiny_encoder(n), PatchEncoder)])

ragged_encoders = pytest.mark.parametrize(
    "name", [n for n in ENCODERS if catalog.find("ssl_core.encoders", n).reads_valid]
)


def _views(name: str, count: int = 4, seed: int = 0) -> torch.Tensor:
    return tiny_views(tiny_spec(name), count, torch.Generator().manual_seed(seed))[0]


@every_encoder
def test_says_what_it_is(name: str) -> None:
    component = catalog.find("ssl_core.encoders", name)
    assert component.Config(**SMALL_ENCODERS.get(name, {})).name == name
    assert catalog.summary("ssl_core.encoders", name) and issubclass(component, Encoder)


@every_encoder
def test_features_have_the_promised_shapes(name: str) -> None:
    encoder = tiny_encoder(name)
    pooled, tokens = encoder(_views(name))
    assert encoder.spec == tiny_spec(name)
    assert pooled.shape == (4, encoder.embed_dim)
    assert tokens.ndim == 3 and tokens.shape[0] == 4 and tokens.shape[2] == encoder.embed_dim
    assert pooled.isfinite().all() and tokens.isfinite().all()


@every_encoder
def test_the_last_layer_says_what_the_encoder_says(name: str) -> None:
    encoder = tiny_encoder(name).eval()
    views = _views(name)
    *before, last = encoder.layer_features(views)
    torch.testing.assert_close(last, encoder(views))
    for layer in (last, *before):
        assert layer.pooled.shape[0] == layer.tokens.shape[0] == 4 and layer.pooled.ndim == 2
    every = AtLayers(encoder, range(len(before) + 1))
    assert every(views).pooled.shape == (4, every.embed_dim)
    torch.testing.assert_close(AtLayers(encoder, (-1, 0))(views).pooled[:, : encoder.embed_dim], last.pooled)
    with pytest.raises(ValueError, match=rf"evaluate\.layer: 99: encoder {name} has layers 0 to {len(before)}"):
        AtLayers(encoder, (99,))


@every_encoder
def test_every_parameter_shapes_the_pooled_vector(name: str) -> None:
    encoder = tiny_encoder(name)
    weight = torch.randn(encoder.embed_dim, generator=torch.Generator().manual_seed(2))
    (encoder(_views(name)).pooled * weight).square().sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None]
    assert not idle


@every_encoder
def test_in_eval_mode_a_sample_does_not_see_its_neighbors(name: str) -> None:
    encoder = tiny_encoder(name).eval()
    views = _views(name)
    torch.testing.assert_close(encoder(views).pooled[1:3], encoder(views[1:3]).pooled, rtol=1e-4, atol=1e-5)


OTHER_SHAPES = {
    IMAGE_AXES: ((3, 32, 32), (1, 16, 24)),
    MEL_AXES: ((1, 16, 24), (2, 8, 32)),
    SERIES_AXES: ((1, 32), (3, 48)),
    TOKEN_AXES: ((20,), (6,)),
}


@every_encoder
@pytest.mark.parametrize("which", [0, 1])
def test_reads_other_sizes_and_channels(name: str, which: int) -> None:
    axes = tiny_spec(name).axes
    spec = tiny_spec(name)._replace(shape=OTHER_SHAPES[axes][which])
    encoder = tiny_encoder(name, spec).eval()
    views = torch.zeros(2, *spec.shape, dtype=torch.int64 if spec.num_ids else torch.float32)
    assert encoder(views).pooled.shape == (2, encoder.embed_dim)


@every_encoder
def test_refuses_views_of_other_axes_by_naming_the_key(name: str) -> None:
    with pytest.raises(ValueError, match=rf"encoder\.name: {name} reads .*the views are page 80, ids below 9"):
        tiny_encoder(name, ViewSpec(("page",), (80,), num_ids=9))


@every_encoder
def test_refuses_padding_that_it_would_take_for_data(name: str) -> None:
    spec = tiny_spec(name)._replace(ragged=True)
    if catalog.find("ssl_core.encoders", name).reads_valid:
        tiny_encoder(name, spec)
        return
    with pytest.raises(ValueError, match="would take padding for data"):
        tiny_encoder(name, spec)


@ragged_encoders
def test_padding_changes_nothing(name: str) -> None:
    encoder = tiny_encoder(name).eval()
    views, valid = tiny_views(tiny_spec(name), 4, torch.Generator().manual_seed(0))
    assert valid is not None and not valid.all()
    pooled, tokens = encoder(views, valid)
    length = valid.sum(1)
    for row in range(4):
        alone = encoder(views[row : row + 1, : length[row]])
        torch.testing.assert_close(alone.pooled[0], pooled[row], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.tokens[0], tokens[row, : length[row]], rtol=1e-4, atol=1e-5)


@patch_encoders
def test_unpatchify_undoes_patchify(name: str) -> None:
    encoder = tiny_encoder(name)
    assert isinstance(encoder, PatchEncoder)
    views = _views(name).to(memory_format=encoder.memory_format)
    patches = encoder.patchify(views)
    assert patches.shape == (4, encoder.num_tokens, encoder.patch_dim)
    assert torch.equal(encoder.unpatchify(patches), views)


@patch_encoders
def test_forward_is_embed_then_encode(name: str) -> None:
    encoder = tiny_encoder(name)
    assert isinstance(encoder, PatchEncoder)
    encoded = encoder.encode(encoder.embed(encoder.patchify(_views(name))))
    assert encoded.shape[1] == encoder.num_class_tokens + encoder.num_tokens
    torch.testing.assert_close(encoder(_views(name)).tokens, encoded[:, encoder.num_class_tokens :])


@patch_encoders
def test_a_mask_token_stands_where_the_mask_is_and_keeps_the_position(name: str) -> None:
    encoder = tiny_encoder(name)
    assert isinstance(encoder, PatchEncoder)
    patches, token = encoder.patchify(_views(name)), torch.randn(encoder.embed_dim)
    mask = torch.arange(encoder.num_tokens).expand(4, -1) % 2 == 0
    plain, masked = encoder.embed(patches), encoder.embed(patches, mask, token)
    assert torch.equal(masked[~mask], plain[~mask])
    blank = encoder.embed(torch.zeros_like(patches)) - encoder.embed(torch.zeros_like(patches))[:, :1]
    torch.testing.assert_close(masked[:, ::2] - masked[:, :1], blank[:, ::2], rtol=1e-4, atol=1e-5)  # positions differ


@patch_encoders
def test_encode_takes_any_subset_in_any_order(name: str) -> None:
    encoder = tiny_encoder(name)
    assert isinstance(encoder, PatchEncoder)
    embedded = encoder.embed(encoder.patchify(_views(name)))
    kept, _ = random_split(torch.arange(4), encoder.num_tokens, 0.5, salt(0))
    ahead = encoder.num_class_tokens
    some = encoder.encode(take(embedded, kept))
    assert some.shape == (4, ahead + kept.shape[1], encoder.embed_dim)
    turned = encoder.encode(take(embedded, kept.flip(1)))
    torch.testing.assert_close(turned[:, ahead:].flip(1), some[:, ahead:], rtol=1e-4, atol=1e-5)
