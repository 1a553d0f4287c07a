import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ssl_core.encoders.base import PatchEncoder
from ssl_core.methods.moco_v3 import MoCoV3
from ssl_core.types import Progress
from tests.support.tiny import tiny_batch, tiny_encoder, tiny_method


def _moco_v3(**settings: object) -> MoCoV3:
    torch.manual_seed(0)
    encoder = tiny_encoder("vit")
    assert isinstance(encoder, PatchEncoder)
    small = {"hidden_dim": 32, "projection_dim": 16, "momentum": 0.9}
    return MoCoV3(MoCoV3.Config.model_validate(small | settings), encoder)


@pytest.mark.parametrize("freeze", [True, False])
def test_the_patch_embedding_alone_stands_still(freeze: bool) -> None:
    method = _moco_v3(freeze_patch_embedding=freeze)
    method(tiny_batch(method), Progress(0, 10)).loss.backward()
    idle = {name for name, p in method.named_parameters() if p.grad is None and not name.startswith("key_")}
    assert idle == ({"encoder.patch_embed.weight", "encoder.patch_embed.bias"} if freeze else set())


def test_loss_is_that_of_algorithm_1() -> None:
    method = _moco_v3()
    batch = tiny_batch(method)

    def contrast(q: Tensor, k: Tensor) -> Tensor:
        logits = torch.einsum("nc,mc->nm", normalize(q, dim=1), normalize(k, dim=1)) / 0.2
        return cross_entropy(logits, torch.arange(len(q))) * (2 * 0.2)

    q = [method.predictor(method.projector(method.encoder(view).pooled)) for view in batch.views]
    k = [method.key_projector(method.key_encoder(view).pooled) for view in batch.views]
    want = contrast(q[0], k[1]) + contrast(q[1], k[0])
    torch.testing.assert_close(method(batch, Progress(0, 10)).loss, want)


@pytest.mark.parametrize(("step", "moved"), [(1, 0.1), (6, 0.05)])  # momentum 0.9 at first, halfway to 1 at half time
def test_keys_follow_ever_more_slowly_and_the_encoder_is_exported(step: int, moved: float) -> None:
    method = tiny_method("moco_v3")
    assert isinstance(method, MoCoV3) and method.exported is method.encoder
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(1.0)
    before = [p.clone() for p in method.key_encoder.parameters()]
    method.after_step(Progress(step, 10))
    for p, old in zip(method.key_encoder.parameters(), before, strict=True):
        torch.testing.assert_close(p, old + moved)
