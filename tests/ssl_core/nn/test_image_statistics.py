"""Statistics of images against what can be told by hand."""

import numpy as np
import torch

from ssl_core.nn.image_statistics import (
    HIGHEST,
    LOWEST,
    attributes,
    color_histogram,
    edge_histogram,
    num_attributes,
    texture,
)


def test_a_color_histogram_shares_each_pixel_out_between_its_two_bins() -> None:
    view = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * (HIGHEST - LOWEST) + LOWEST
    found = color_histogram(view, 4).view(2, 3, 4)
    torch.testing.assert_close(found.sum(2), torch.ones(2, 3))
    level = (view.numpy() - LOWEST) / (HIGHEST - LOWEST) * 3
    wanted = np.zeros((2, 3, 4))
    for index, value in np.ndenumerate(level):
        low = min(int(value), 2)
        wanted[index[0], index[1], low] += (1 - (value - low)) / 35
        wanted[index[0], index[1], low + 1] += (value - low) / 35
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_edges_go_into_the_bin_of_their_direction_and_a_flat_image_has_none() -> None:
    ramp = torch.arange(8.0)
    across, down = ramp.expand(8, 8), ramp.expand(8, 8).T
    views = torch.stack([across, down, across + down, torch.zeros(8, 8)])[:, None].expand(-1, 3, -1, -1)
    found = edge_histogram(views, 4)  # bins at 0, 45, 90, 135 degrees
    wanted = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_texture_is_contrast_and_sharpness() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 3, 8, 8)
    found = texture(torch.cat([stripes, torch.zeros(1, 3, 8, 8)]))
    torch.testing.assert_close(found[0, :2], torch.tensor([1.0, 2.0]))
    assert (found[0, 2:].abs() < 1e-6).all(), "averaged over two pixels nothing is left"
    assert (found[1] == 0).all()


def test_all_together_are_as_many_as_is_said() -> None:
    views = torch.randn(3, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    assert attributes(views, 5, 6).shape == (3, num_attributes(3, 5, 6))
