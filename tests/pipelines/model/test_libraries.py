"""Encoders under the names of other libraries: opened there, they say the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.errors import UserError
from pipelines.model import libraries
from pipelines.model.export import TOLERANCE, export
from ssl_core.encoders.base import Encoder
from tests.support.registry import pack_tiny
from tests.support.tiny import image_spec, tiny_encoder

SIZE = 32


def made(name: str, **settings: Any) -> Encoder:
    """An encoder of random weights whose BatchNorm has seen something."""
    torch.manual_seed(0)
    encoder = tiny_encoder(name, image_spec(3, SIZE, SIZE), **settings)
    for _ in range(3):
        encoder(torch.randn(8, 3, SIZE, SIZE) + 1)
    return encoder.eval()


def difference(library: str, encoder: Encoder, folder: Path) -> float:
    views = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs, ours = libraries.write(library, encoder, folder)(views), encoder(views).pooled
    assert sorted(path.name for path in folder.iterdir()) == sorted(libraries.FILES[library])
    return float((theirs - ours).norm(dim=1).div(ours.norm(dim=1)).max())


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_torchvision_opens_our_resnets(depth: int, tmp_path: Path) -> None:
    encoder = made("resnet", depth=depth, width=64, stem="imagenet")
    assert difference("torchvision", encoder, tmp_path) < TOLERANCE


@pytest.mark.peers
@pytest.mark.parametrize("depth", [18, 50])
def test_timm_opens_our_resnets(depth: int, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    encoder = made("resnet", depth=depth, width=64, stem="imagenet")
    assert difference("timm", encoder, tmp_path) < TOLERANCE


@pytest.mark.peers
@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("positions", ["fixed", "learned"])
@pytest.mark.parametrize("class_token", [False, True])
def test_timm_opens_our_vits(class_token: bool, positions: str, registers: int, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    settings = {"class_token": class_token, "positions": positions, "registers": registers}
    encoder = made("vit", patch_size=4, dim=32, depth=2, heads=4, **settings)
    assert difference("timm", encoder, tmp_path) < TOLERANCE


@pytest.mark.peers
def test_transformers_opens_our_vits(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    encoder = made("vit", patch_size=4, dim=32, depth=2, heads=4, class_token=True)
    assert difference("transformers", encoder, tmp_path) < TOLERANCE
    assert type(transformers.AutoModel.from_pretrained(tmp_path)).__name__ == "ViTModel"
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["size"] == {"height": SIZE, "width": SIZE}


@pytest.mark.parametrize(
    ("library", "name", "settings", "said"),
    [
        ("torchvision", "convnet", {}, "--format torchvision: has no encoder convnet; it takes resnet"),
        ("torchvision", "resnet", {"width": 16, "stem": "imagenet"}, "this one has width 16, a 7x7 stem"),
        ("torchvision", "resnet", {"width": 64}, "this one has width 64, a 3x3 stem and 3 channels"),
        ("transformers", "vit", {"class_token": False}, "its ViT has a class token"),
        ("transformers", "vit", {"class_token": True, "registers": 1}, "its ViT has no registers; take timm"),
    ],
)
def test_what_a_library_has_not_is_refused(
    library: str, name: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        libraries.write(library, made(name, **settings), tmp_path)


def test_an_export_for_a_library_goes_into_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, out = pack_tiny(tmp_path / "model", "resnet", size=SIZE), tmp_path / "out"
    monkeypatch.setattr(libraries, "_depth", lambda encoder, library: 18)
    with pytest.raises(RuntimeError, match="size mismatch"):  # a narrow one, passed off as torchvision's
        export(packed, "torchvision", out)
    assert not list(out.iterdir()), "nothing is shown that was not opened"
    export(packed, "safetensors", out)
    with pytest.raises(UserError, match=r"holds a config\.json; give an empty folder"):
        export(packed, "torchvision", out)
