import pytest
import torch
from torch import nn

from ssl_core.nn.heads import ConvDecoder, MaskedDecoder, mlp
from ssl_core.nn.masking import random_split
from ssl_core.nn.norm import BatchNorm1d
from ssl_core.noise import salt
from ssl_core.spec import IMAGE_AXES, SERIES_AXES, ViewSpec


def test_mlp_layers() -> None:
    def kinds(network: nn.Sequential) -> list[type]:
        return [type(layer) for layer in network]

    assert kinds(mlp(4, 2)) == [nn.Linear]
    assert kinds(mlp(4, 8, 2)) == [nn.Linear, BatchNorm1d, nn.ReLU, nn.Linear]
    plain = mlp(4, 8, 6, 2, batch_norm=False)
    assert kinds(plain) == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert mlp(4, 8, 2)[0].bias is None and plain[0].bias is not None
    assert plain(torch.zeros(3, 4)).shape == (3, 2)
    for last_norm, count in (("affine", 2), ("plain", 0)):
        network = mlp(4, 8, 2, last_norm=last_norm)
        assert kinds(network) == [nn.Linear, BatchNorm1d, nn.ReLU, nn.Linear, BatchNorm1d]
        assert len(list(network[-1].parameters())) == count and network[-2].bias is None
    assert mlp(4, 8, 2)[-1].bias is not None and mlp(4, 8, 2, bias=False)[-1].bias is None


@pytest.mark.parametrize("class_tokens", [0, 1])
def test_masked_decoder_answers_in_the_order_of_the_question(class_tokens: int) -> None:
    torch.manual_seed(0)
    decoder = MaskedDecoder(token_dim=6, dim=16, depth=2, heads=2, grid=(4, 4), patch_dim=5)
    kept, hidden = random_split(torch.arange(2), 16, 0.5, salt(0))
    seen = torch.randn(2, class_tokens + 8, 6)
    answers = decoder(seen, kept, hidden)
    assert answers.shape == (2, 8, 5)
    torch.testing.assert_close(decoder(seen, kept, hidden.flip(1)), answers.flip(1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(decoder(seen, kept.flip(1), hidden), answers)  # which patch is where matters


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28), (3, 32, 48), (2, 3, 5), (2, 50), (1, 7)])
def test_conv_decoder_paints_images_and_series_of_any_size(shape: tuple[int, ...]) -> None:
    decoder = ConvDecoder(10, ViewSpec(IMAGE_AXES if len(shape) == 3 else SERIES_AXES, shape), width=4)
    painted = decoder(torch.randn(2, 10))
    assert painted.shape == (2, *shape)
    painted.sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())
