import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from ssl_core.methods.bert import BERT
from ssl_core.methods.gpt import GPT
from ssl_core.methods.simcse import SimCSE, _hash
from ssl_core.spec import TOKEN_AXES, ViewSpec
from ssl_core.tokenizers.base import MASK, NUM_SPECIAL
from ssl_core.types import Batch, Progress
from tests.support.tiny import tiny_encoder, tiny_views

SPEC = ViewSpec(TOKEN_AXES, (64,), num_ids=40, ragged=True)
IDS, VALID = tiny_views(SPEC, 200, torch.Generator().manual_seed(0))
assert VALID is not None
BATCH = Batch((IDS,), torch.arange(200), (VALID,))


def gpt() -> GPT:
    return GPT(GPT.Config(), tiny_encoder("text_transformer", SPEC, causal=True))


def test_gpt_is_the_mean_over_all_tokens_but_the_first():
    method = gpt()
    total, count = torch.zeros(()), 0
    for ids, valid in zip(IDS, VALID, strict=True):
        text = ids[valid][None]
        hidden = method.encoder(text).tokens[0, :-1]
        total = total + cross_entropy(hidden @ method.encoder.embedding.weight.T, text[0, 1:], reduction="sum")
        count += text.shape[1] - 1
    torch.testing.assert_close(method(BATCH, Progress(0, 1)).loss, total / count)


def test_a_causal_token_sees_nothing_behind_it():
    encoder = tiny_encoder("text_transformer", SPEC, causal=True)
    changed = IDS.clone()
    changed[:, 30:] = 5
    assert torch.equal(encoder(IDS).tokens[:, :30], encoder(changed).tokens[:, :30])


def test_bert_picks_text_alone_and_changes_it_as_the_paper_says():
    method = BERT(BERT.Config(mask_rate=0.3), tiny_encoder("text_transformer", SPEC))
    shown, picked = method._masked(IDS, VALID, BATCH.sample_id, Progress(3, 10))
    text = VALID & (IDS >= NUM_SPECIAL)
    assert not picked[~text].any() and picked.any(1).all()
    assert torch.equal(shown[~picked], IDS[~picked])
    assert abs(picked[text].float().mean() - 0.3) < 0.02
    masked = (shown == MASK)[picked].float().mean()
    kept = (shown == IDS)[picked].float().mean()
    assert abs(masked - 0.8) < 0.03 and abs(kept - (0.1 + 0.1 / 36)) < 0.03
    others = shown[picked & (shown != MASK) & (shown != IDS)]
    assert others.min() >= NUM_SPECIAL and others.max() < SPEC.num_ids and len(others.unique()) > 30


def test_bert_picks_one_token_of_the_shortest_text_and_none_of_an_empty_one():
    method = BERT(BERT.Config(mask_rate=0.01), tiny_encoder("text_transformer", SPEC))
    ids = torch.tensor([[1, 9, 2, 0], [1, 2, 0, 0]])
    _, picked = method._masked(ids, ids > 0, torch.tensor([5, 6]), Progress(0, 1))
    assert picked.tolist() == [[False, True, False, False], [False] * 4]
    assert method(Batch((ids[1:],), torch.tensor([6]), (ids[1:] > 0,)), Progress(0, 1)).loss == 0


def test_simcse_draws_two_dropouts_and_equal_texts_are_no_negatives():
    method = SimCSE(SimCSE.Config(), tiny_encoder("text_transformer", SPEC))
    batch = Batch((IDS[:8],), torch.arange(8), (VALID[:8],))
    out = method(batch, Progress(0, 1))
    assert out.metrics["alignment"] > 1e-4  # the passes differ
    assert copy.deepcopy(method).eval()(batch, Progress(0, 1)).metrics["alignment"] < 1e-9
    same = Batch((IDS[:1].expand(8, -1),), torch.arange(8), (VALID[:1].expand(8, -1),))
    assert method(same, Progress(0, 1)).loss == 0  # nothing is left to tell apart
    assert len(_hash(IDS).unique()) == len(IDS.unique(dim=0))
    assert torch.equal(_hash(torch.nn.functional.pad(IDS, (0, 9))), _hash(IDS))  # padding says nothing


@pytest.mark.parametrize(("method", "causal"), [(GPT, False), (BERT, True)])
def test_an_encoder_of_the_other_kind_is_refused(method, causal):
    with pytest.raises(ValueError, match=r"encoder\.causal: method"):
        method(method.Config(), tiny_encoder("text_transformer", SPEC, causal=causal))
