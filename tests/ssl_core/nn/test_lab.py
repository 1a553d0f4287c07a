"""L*a*b*: colors of known coordinates, and there and back."""

import pytest
import torch

from ssl_core.augment._image.base import MEAN, STD
from ssl_core.nn.lab import from_lab, gray_of, to_lab


def _view(*rgb: int) -> torch.Tensor:
    """One pixel of 8 bits a channel, normalized."""
    values = [(level - mean) / std for level, mean, std in zip(rgb, MEAN, STD, strict=True)]
    return torch.tensor(values).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # of tables of sRGB at D65
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((128, 128, 128), (53.59, 0.0, 0.0)),
    ],
)
def test_known_colors(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    assert to_lab(_view(*rgb)).flatten().tolist() == pytest.approx(lab, abs=0.05)


def test_there_and_back() -> None:
    levels = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    view = (levels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(from_lab(to_lab(view)), view, rtol=1e-3, atol=2e-3)


def test_gray_has_no_color_and_knows_nothing_of_it() -> None:
    red, other = _view(255, 0, 0), _view(76, 76, 76)  # 0.299 * 255
    gray = gray_of(red)
    assert to_lab(gray)[:, 1:].abs().max() < 0.05
    torch.testing.assert_close(gray, other, rtol=0, atol=0.01)
