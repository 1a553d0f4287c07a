import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from ssl_core.encoders.text_transformer import TextTransformer
from ssl_core.generate import Sampling, choose, generate
from ssl_core.spec import TOKEN_AXES, ViewSpec
from ssl_core.tokenizers.base import CLS, NUM_SPECIAL, SEP

SPEC = ViewSpec(TOKEN_AXES, (24,), num_ids=30, ragged=True)
PROMPTS = [[7, 8, 9], [5], [11, 12, 13, 14, 15, 16]]


def encoder(seed: int = 0, **knobs: object) -> TextTransformer:
    torch.manual_seed(seed)
    config = TextTransformer.Config.model_validate({"dim": 16, "depth": 2, "heads": 2, "causal": True, **knobs})
    made = TextTransformer(config, SPEC).eval()
    made.embedding.weight.data.mul_(20)  # logits that differ
    return made


def written(model: TextTransformer, prompts: list[list[int]], **sampling: object) -> list[list[int]]:
    steps = list(generate(model, prompts, Sampling.model_validate(sampling)))
    return [[token for token in row if token is not None] for row in zip(*steps, strict=True)]


@torch.no_grad()
def without_cache(model: TextTransformer, prompt: list[int], length: int) -> list[int]:
    """The most likely tokens, the whole text computed anew for each."""
    ids, made = [CLS, *prompt], list[int]()
    while len(made) < length and len(ids) < SPEC.shape[0]:
        logits = linear(model(torch.tensor([ids])).tokens[0, -1], model.embedding.weight)
        logits[[0, 1, 3]] = float("-inf")  # all special ones but the end
        token = int(logits.argmax())
        if token == SEP:
            break
        ids.append(token)
        made.append(token)
    return made


@pytest.mark.parametrize("seed", range(4))
def test_the_cache_gives_what_the_whole_text_gives(seed):
    model = encoder(seed)
    assert written(model, PROMPTS, temperature=0, length=12) == [without_cache(model, p, 12) for p in PROMPTS]


def test_a_text_is_the_same_alone_and_in_a_batch_and_another_by_another_seed():
    model = encoder()
    together = written(model, PROMPTS, length=15, seed=3)
    assert [written(model, [prompt], length=15, seed=3)[0] for prompt in PROMPTS] == together
    assert written(model, PROMPTS, length=15, seed=4) != together
    assert all(token >= NUM_SPECIAL for row in together for token in row)


def test_it_ends_where_the_positions_end():
    model = encoder()
    long = written(model, [[5] * 20], length=50, temperature=0.01)[0]
    assert len(long) == 24 - 21


def test_choices_follow_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    place = torch.arange(20_000)

    def shares(**sampling: float) -> Tensor:
        found = choose(logits, place, Sampling.model_validate(sampling))
        return found.bincount(minlength=4) / len(found)

    torch.testing.assert_close(shares(), torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.015, rtol=0)
    torch.testing.assert_close(shares(top_k=2), torch.tensor([0.625, 0.375, 0, 0]), atol=0.015, rtol=0)
    torch.testing.assert_close(shares(top_p=0.6), torch.tensor([0.625, 0.375, 0, 0]), atol=0.015, rtol=0)
    squared = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    torch.testing.assert_close(shares(temperature=0.5), squared / squared.sum(), atol=0.015, rtol=0)
    assert shares(top_p=0.01)[0] == shares(top_k=1)[0] == shares(temperature=0)[0] == 1


@pytest.mark.parametrize(
    ("knobs", "prompts", "words"),
    [
        ({"causal": False}, PROMPTS, "causal encoder"),
        ({}, [], "no prompt"),
        ({}, [[5] * 24], "24 tokens; the model has 24 positions"),
    ],
)
def test_what_cannot_be_done_is_said(knobs, prompts, words):
    with pytest.raises(ValueError, match=words):
        next(generate(encoder(**knobs), prompts, Sampling()))
