import pytest
import torch

from ssl_core.nn.masking import put, random_split, take
from ssl_core.noise import salt


@pytest.mark.parametrize(
    ("count", "ratio", "hidden"), [(64, 0.75, 48), (10, 0.5, 5), (4, 0.01, 1), (4, 0.99, 3), (2, 0.5, 1)]
)
def test_split_is_a_partition_of_the_asked_size(count: int, ratio: float, hidden: int) -> None:
    kept, masked = random_split(torch.arange(5), count, ratio, salt(1))
    assert masked.shape == (5, hidden)
    assert torch.equal(torch.cat([kept, masked], dim=1).sort(1).values, torch.arange(count).expand(5, -1))


def test_split_depends_on_the_sample_and_the_salt_only() -> None:
    ids = torch.tensor([7, 8, 9])
    kept, _ = random_split(ids, 64, 0.75, salt(3))
    alone, _ = random_split(ids[1:2], 64, 0.75, salt(3))
    other_step, _ = random_split(ids, 64, 0.75, salt(4))
    assert torch.equal(kept[1:2], alone)
    assert not torch.equal(kept, other_step) and not torch.equal(kept[0], kept[1])


def test_every_token_is_hidden_equally_often() -> None:
    _, hidden = random_split(torch.arange(8192), 16, 0.75, salt(0))
    share = hidden.flatten().bincount(minlength=16) / 8192
    assert (share - 0.75).abs().max() < 0.02  # four standard deviations


def test_put_is_the_inverse_of_take() -> None:
    tokens = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    kept, hidden = random_split(torch.arange(2), 6, 0.5, salt(0))
    blank = put(tokens, hidden, torch.zeros(2, 3, 3))
    assert torch.equal(take(blank, kept), take(tokens, kept)) and not take(blank, hidden).any()
    assert torch.equal(put(blank, hidden, take(tokens, hidden)), tokens)
