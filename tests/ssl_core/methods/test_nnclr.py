import torch
from torch import nn
from torch.nn.functional import normalize

from ssl_core.losses.contrastive import in_batch_nce
from ssl_core.methods.nnclr import NNCLR
from ssl_core.types import Progress
from tests.support.tiny import rows, tiny_batch, tiny_method


def _nnclr() -> NNCLR:
    method = tiny_method("nnclr")  # 20 slots, temperature 0.5
    assert isinstance(method, NNCLR)
    return method


def test_support_set_gets_the_first_views_vectors_after_the_step() -> None:
    method = _nnclr()
    batch = tiny_batch(method)
    before = method.queue.clone()
    method(batch, Progress(0, 10))
    assert torch.equal(method.queue, before)
    fresh = method._fresh[0]
    method.after_step(Progress(1, 10))
    assert torch.equal(method.queue, torch.cat([fresh, before[8:]])) and int(method.next_slot) == 8
    torch.testing.assert_close(fresh, normalize(method.projector(method.encoder(batch.views[0]).pooled), dim=-1))


def test_gradient_accumulation_enqueues_every_vector_once() -> None:
    method = _nnclr()
    batch = tiny_batch(method)
    for half in (slice(0, 4), slice(4, 8)):
        method(rows(batch, half), Progress(0, 10))
    first, second = method._fresh
    method.after_step(Progress(1, 10))
    assert torch.equal(method.queue[:8], torch.cat([first, second])) and not method._fresh


def test_evaluation_leaves_the_support_set_alone() -> None:
    method = _nnclr().eval()
    method(tiny_batch(method), Progress(0, 10))
    assert not method._fresh


def test_positive_of_a_prediction_is_the_neighbor_of_the_other_view() -> None:
    method = _nnclr()
    method.predictor = nn.Sequential()  # predictions are the vectors themselves
    batch = tiny_batch(method)
    z_a, z_b = (normalize(method.projector(method.encoder(view).pooled), dim=-1) for view in batch.views)
    method.queue = z_a.detach()  # every vector of the first view is its own neighbor
    neighbor_of_b = torch.stack([z_a[(z_a @ z).argmax()] for z in z_b]).detach()
    want = in_batch_nce(z_a.detach(), z_b, first=0, temperature=0.5)
    want = (want + in_batch_nce(neighbor_of_b, z_a, first=0, temperature=0.5)) / 2
    out = method(batch, Progress(0, 10))
    torch.testing.assert_close(out.loss, want, rtol=1e-4, atol=1e-5)
    similar = ((z_a * z_a).sum(-1)).mean().detach()
    torch.testing.assert_close(out.metrics["neighbor_similarity"], similar)
