"""Our own encoders start from weights of torchvision, timm and of themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from ssl_core.encoders.base import Encoder
from tests.support.tiny import image_spec, tiny_encoder

SIZES = {"patch_size": 4, "dim": 32, "depth": 2, "heads": 4}


def _ours(name: str, size: int = 32, **settings: Any) -> Encoder:
    torch.manual_seed(1)
    return tiny_encoder(name, image_spec(3, size, size), **settings).eval()


def _views(size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def _saved(network: nn.Module, folder: Path) -> Path:
    save_file(network.state_dict(), path := folder / "weights.safetensors")
    return path


def test_resnet_takes_torchvisions_weights(tmp_path: Path) -> None:
    reference = torchvision.models.resnet18(weights=None).eval()
    path = _saved(reference, tmp_path)
    resnet = _ours("resnet", width=64, stem="imagenet", weights=path)
    reference.fc = nn.Identity()
    torch.testing.assert_close(resnet(_views()).pooled, reference(_views()), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"does not fit encoder\.depth 18, width 64: conv1\.weight has shape"):
        _ours("resnet", width=64, weights=path)


@pytest.mark.parametrize("positions", ["fixed", "learned"])
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_takes_its_own_weights(name: str, positions: str, tmp_path: Path) -> None:
    settings = SIZES | {"positions": positions, "registers": 2} if name == "vit" else {"width": 4}
    torch.manual_seed(5)
    first = tiny_encoder(name, image_spec(3, 32, 32), **settings).eval()
    second = _ours(name, weights=_saved(first, tmp_path), **settings)
    assert torch.equal(second(_views()).pooled, first(_views()).pooled)


def _timm_vit(size: int, **settings: Any) -> Any:
    timm: Any = pytest.importorskip("timm")
    torch.manual_seed(2)
    arguments = {"img_size": size, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4} | settings
    network = timm.create_model("vit_tiny_patch16_224", **arguments).eval()
    for p in network.parameters():  # tokens and biases start at zero
        p.data.add_(0.02 * torch.randn_like(p))
    return network


@pytest.mark.peers
@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize(("class_token", "no_embed_class"), [(True, False), (True, True), (False, False)])
def test_vit_takes_timms_weights_and_gives_the_same_tokens(
    class_token: bool, no_embed_class: bool, registers: int, tmp_path: Path
) -> None:
    pooling = {"class_token": class_token, "global_pool": "token" if class_token else "avg", "fc_norm": False}
    theirs = _timm_vit(32, reg_tokens=registers, no_embed_class=no_embed_class, **pooling)
    path = _saved(theirs, tmp_path)
    settings = SIZES | {"class_token": class_token, "registers": registers}
    vit = _ours("vit", positions="learned", weights=path, **settings)
    tokens, features = theirs.forward_features(_views()), vit(_views())
    torch.testing.assert_close(features.tokens, tokens[:, theirs.num_prefix_tokens :], rtol=1e-4, atol=1e-5)
    pooled = theirs.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(features.pooled, pooled, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"encoder\.positions: the weights have other positions than fixed ones"):
        _ours("vit", weights=path, **settings)


@pytest.mark.peers
def test_vit_takes_weights_of_another_size_of_views_as_timm_does(tmp_path: Path) -> None:
    theirs = _timm_vit(32, dynamic_img_size=True)
    vit = _ours("vit", size=48, positions="learned", class_token=True, weights=_saved(theirs, tmp_path), **SIZES)
    features, tokens = vit(_views(48)), theirs.forward_features(_views(48))
    torch.testing.assert_close(features.tokens, tokens[:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.peers
def test_weights_of_another_transformer_are_refused(tmp_path: Path) -> None:
    path = _saved(_timm_vit(32, init_values=1.0), tmp_path)
    with pytest.raises(ValueError, match=r"does not fit encoder\.size tiny as given: blocks\.0\.ls1\.gamma is unknown"):
        _ours("vit", positions="learned", class_token=True, weights=path, **SIZES)
