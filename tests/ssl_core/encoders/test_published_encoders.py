"""Encoders of other libraries: the features their classifier reads, weights from disk and only from disk."""

import copy
import pickle
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from ssl_core.encoders._published import read_weights
from ssl_core.encoders.timm import Timm
from ssl_core.encoders.torchvision import TorchVision
from ssl_core.methods.supervised import Supervised
from ssl_core.nn.norm import BatchNorm2d
from ssl_core.optimize.layer_decay import lr_scales
from tests.support.tiny import image_spec

SIDE = 32


def published(model: str, **settings: object) -> nn.Module:
    torch.manual_seed(3)
    network: nn.Module = models.get_model(model, weights=None, **settings)
    return network.eval()


def encoder(model: str, weights: Path | None = None) -> TorchVision:
    return TorchVision(TorchVision.Config(model=model, weights=weights), image_spec(3, SIDE, SIDE))


def read_by_classifier(network: nn.Module, x: Tensor) -> Tensor:
    """What the last linear layer is given, [B, D]."""
    given: list[Tensor] = []
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    last.register_forward_hook(lambda layer, inputs, out: given.append(inputs[0]))
    with torch.no_grad():
        network(x)
    return given[0]


@pytest.mark.parametrize("model", ["resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_pooled_is_what_the_classification_layer_reads(model: str, suffix: str, tmp_path: Path) -> None:
    network, path = published(model), tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}, "epoch": 3}, path)
    else:
        save_file(network.state_dict(), path)
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    made = encoder(model, path).eval()
    with torch.no_grad():
        pooled, tokens = made(x)
    torch.testing.assert_close(pooled, read_by_classifier(network, x))
    assert pooled.shape == (2, made.embed_dim) and tokens.shape == (2, 1, made.embed_dim)


def test_a_vit_takes_the_size_of_the_views_and_has_layers() -> None:
    made = encoder("vit_b_32").eval()
    network = published("vit_b_32", image_size=SIDE)
    missing = network.load_state_dict(made.network.state_dict(), strict=False).missing_keys
    assert missing == ["heads.head.weight", "heads.head.bias"]
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(made(x).pooled, read_by_classifier(network, x))
    scales = lr_scales(Supervised(Supervised.Config(num_classes=2), made), 0.5)
    inside = "encoder.network."
    assert scales[f"{inside}class_token"] == scales[f"{inside}conv_proj.weight"] == 0.5**13
    assert scales[f"{inside}encoder.layers.encoder_layer_11.mlp.0.weight"] == 0.5
    assert scales[f"{inside}encoder.ln.weight"] == scales["classifier.weight"] == 1


def test_nothing_is_drawn_from_a_global_generator_and_batch_norm_spans_workers() -> None:
    made = encoder("mobilenet_v3_small").train()
    assert {type(layer) for layer in made.modules() if isinstance(layer, nn.BatchNorm2d)} == {BatchNorm2d}
    x = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first = copy.deepcopy(made)(x).pooled
    torch.manual_seed(2)
    assert torch.equal(first, copy.deepcopy(made)(x).pooled)
    state = torch.get_rng_state()
    made(x)
    assert torch.equal(state, torch.get_rng_state())


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(published("resnet34").state_dict(), path)
    with pytest.raises(ValueError, match=r"weights\.safetensors: does not fit encoder.model resnet18: .* is unknown"):
        encoder("resnet18", path)
    save_file(published("shufflenet_v2_x1_0").state_dict(), path)
    with pytest.raises(ValueError, match=r"has shape \[.*\], needs \["):
        encoder("shufflenet_v2_x0_5", path)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, ("pwned",)  # type: ignore[return-value]


def test_a_file_that_is_no_state_dict_is_refused_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"encoder\.weights: gone\.pt: no such file; nothing is downloaded"):
        encoder("resnet18", Path("gone.pt"))
    torch.save({"model": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt: cannot be read"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()
    (tmp_path / "text.safetensors").write_text("not a tensor")
    with pytest.raises(ValueError, match=r"text\.safetensors: cannot be read"):
        read_weights(tmp_path / "text.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt: holds no state_dict"):
        read_weights(tmp_path / "list.pt")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["pickle", "old pickle", "module", "script", "page", "cut", "zip"])
def test_what_is_wrong_with_a_foreign_file_is_said_in_our_words(kind: str, tmp_path: Path) -> None:
    """torch's words advise to read it with weights_only=False, which runs what is in it."""
    path = tmp_path / "x.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(), 4))
    elif kind == "old pickle":
        torch.save({"model": Payload()}, path, _use_new_zipfile_serialization=False)
    elif kind == "module":
        torch.save(nn.Linear(2, 2), path)
    elif kind == "script":
        with zipfile.ZipFile(path, "w") as archive:  # as torch.jit.save writes
            archive.writestr("x/data.pkl", b"")
            archive.writestr("x/constants.pkl", b"")
    elif kind == "page":
        path.write_text("<!DOCTYPE html>")
    elif kind == "cut":
        torch.save({"w": torch.ones(1000)}, path)
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photo.jpg", b"")
    words = {
        "script": "TorchScript program",
        "page": "web page",
        "cut": "damaged or cut",
        "zip": "not one of torch.save",
    }
    with pytest.raises(ValueError, match=words.get(kind, "holds more than tensors")) as error:
        read_weights(path)
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet19", "torchvision has no classification network 'resnet19'"),
        ("fasterrcnn_resnet50_fpn", "no classification network"),
        ("googlenet", "no classification network"),
        ("squeezenet1_0", "squeezenet1_0 cannot be built for .*: has no linear classification layer"),
        ("vit_l_16", "Input shape indivisible by patch size"),
    ],
)
def test_networks_that_cannot_be_used_are_named(model: str, words: str) -> None:
    side = 24 if model.startswith("vit") else SIDE
    with pytest.raises(ValueError, match=rf"encoder\.model: .*{words}"):
        TorchVision(TorchVision.Config(model=model), image_spec(3, side, side))


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_it_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"encoder\.name: timm is not installed; `pip install timm`"):
        Timm(Timm.Config(), image_spec(3, SIDE, SIDE))


def test_a_config_is_checked_without_memory() -> None:
    with torch.device("meta"):
        made = encoder("resnet18")
    assert all(p.is_meta for p in made.parameters()) and made.embed_dim == 512
