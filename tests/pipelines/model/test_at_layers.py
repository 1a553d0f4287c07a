"""A version that is evaluated and registered at a middle layer says the same everywhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.config.parse import parse
from pipelines.errors import UserError
from pipelines.evaluate.features.encode import Network, subjects_of
from pipelines.model import export as exports
from pipelines.model.card_file import read_card, write_card
from pipelines.model.embedder import Embedder
from pipelines.model.loader import load_encoder
from tests.support.recipe import TREE
from tests.support.registry import pack_tiny


def packed_at(folder: Path, *layers: int) -> Path:
    """A convnet of stages 8, 16, 32 wide, registered at some of its layers."""
    packed = pack_tiny(folder)
    card = read_card(packed)
    write_card(packed, card.model_copy(update={"layers": layers, "embed_dim": sum((8, 16, 32)[i] for i in layers)}))
    return packed


def test_a_card_that_names_layers_loads_embeds_and_exports_them(tmp_path: Path) -> None:
    packed = packed_at(tmp_path / "model", 0, 2)
    encoder, plain = load_encoder(packed), load_encoder(pack_tiny(tmp_path / "plain"))
    views = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        first, _, last = plain.layer_features(views)
        torch.testing.assert_close(encoder(views).pooled, torch.cat([first.pooled, last.pooled], dim=1))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    assert Embedder(packed).embed(images).shape == (3, 40)
    made = exports.export(packed, "pt2", tmp_path / "out", images)
    assert made.max_difference < exports.TOLERANCE


def test_a_card_whose_layers_are_not_there_is_one_clear_line(tmp_path: Path) -> None:
    packed = pack_tiny(tmp_path / "model")
    write_card(packed, read_card(packed).model_copy(update={"layers": (5,)}))
    with pytest.raises(
        UserError, match=r"this Selfray cannot build it: evaluate\.layer: 5: encoder convnet has layers"
    ):
        load_encoder(packed)


@pytest.mark.parametrize(("layer", "layers"), [(None, ()), (0, (0,)), ([0, -1], (0, -1))])
def test_the_recipe_names_layers(layer: Any, layers: tuple[int, ...]) -> None:
    config = parse(TREE, {"evaluate.layer": layer})
    assert config.evaluate.layers == layers
    given: Any = type("Given", (), {"digest": "d", "folder": Path("x")})
    both = zip(subjects_of(config, given), subjects_of(parse(TREE), given), strict=True)
    changed = [here.identity != plain.identity for here, plain in both]
    assert changed == [bool(layers), bool(layers), False], "the raw input has no layers"
    network = Network(config.encoder, config.views["eval"], 0, None, layers)
    encoder = network.build(subjects_of(config, given)[1])
    assert encoder(torch.zeros(2, 3, 8, 8)).pooled.shape == (2, {0: 16, 1: 8, 2: 24}[len(layers)])


def test_a_layer_that_the_encoder_has_not_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match=r"evaluate\.layer: 2: encoder convnet has layers 0 to 1"):
        parse(TREE, {"evaluate.layer": 2})
