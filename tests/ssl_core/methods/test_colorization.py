import pytest
import torch

from ssl_core.methods.colorization import Colorization
from ssl_core.nn.lab import gray_of, to_lab
from ssl_core.types import Batch, Progress
from tests.support.tiny import image_spec, tiny_batch, tiny_encoder


def _method(encoder: str = "convnet") -> Colorization:
    torch.manual_seed(0)
    return Colorization(Colorization.Config(bins=5, reach=100.0), tiny_encoder(encoder))


def test_a_color_is_shared_out_among_its_nearest_bins() -> None:
    method = _method()  # bins at -100, -50, 0, 50, 100
    shares = method._shared_out(torch.tensor([[[0.0, 25.0, 140.0]], [[50.0, 0.0, -60.0]]]).view(1, 2, 3))
    found = [{(i // 5, i % 5): float(v) for i, v in enumerate(row) if v} for row in shares[0]]
    assert found[0] == pytest.approx({(2, 3): 1.0})
    assert found[1] == pytest.approx({(2, 2): 0.5, (3, 2): 0.5})
    assert found[2] == pytest.approx({(4, 0): 0.2, (4, 1): 0.8})  # clipped at the reach
    torch.testing.assert_close(shares.sum(2), torch.ones(1, 3))


def test_what_is_expected_of_a_shared_out_color_is_that_color() -> None:
    method = _method()
    color = torch.rand(3, 2, 7) * 160 - 80
    torch.testing.assert_close(method._expected(method._shared_out(color).log()), color, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("encoder", ["convnet", "vit"])
def test_the_encoder_sees_no_color_and_each_position_answers_for_its_own_part(encoder: str) -> None:
    method = _method(encoder).eval()
    batch = tiny_batch(method)
    seen: list[torch.Tensor] = []
    method.encoder.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    method(batch, Progress(0, 10))
    torch.testing.assert_close(seen[0], gray_of(batch.views[0]))
    view = torch.zeros(1, 3, 8, 8)
    view[:, 0, :4, 4:] = 2.0  # red in the upper right quarter, one of four positions
    color = to_lab(view)[:, 1:].unflatten(2, (2, 4)).unflatten(4, (2, 4)).mean((3, 5)).flatten(2)  # [1, 2, 4]
    with torch.no_grad():
        method.classifier.weight.zero_()
        method.classifier.bias.copy_(method._shared_out(color)[0, 0].clamp_min(1e-9).log())  # that of the other three
    only = method(Batch((view,), torch.zeros(1, dtype=torch.int64)), Progress(0, 10))
    apart = float((color[..., 1] - color[..., 0]).norm())
    assert float(only.metrics["color_error"]) == pytest.approx(apart / 4, rel=1e-3)


def test_views_without_three_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"method\.name: colorization needs square views of three channels"):
        Colorization(Colorization.Config(), tiny_encoder(spec=image_spec(1, 8, 8)))
