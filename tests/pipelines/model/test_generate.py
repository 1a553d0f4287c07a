"""`selfray generate`: text of a packed model, by the command that a user types."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.model import loader
from pipelines.model.card_file import Card
from ssl_core.augment.text_eval import TextEval
from ssl_core.build import build_chain
from ssl_core.encoders.text_transformer import TextTransformer


def _packed(folder: Path, **knobs: Any) -> Path:
    view = TextEval.Config(length=40)
    config = TextTransformer.Config.model_validate({"dim": 16, "depth": 1, "heads": 2, "causal": True, **knobs})
    spec = build_chain(view).spec
    encoder = TextTransformer(config, spec)
    card = Card(
        name="writer", encoder=config.model_dump(), view=view.model_dump(mode="json"), view_shape=spec.shape,
        embed_dim=16, sha256="", checkpoint="", shards="", codec={"name": "text"},
    )  # fmt: skip
    loader.pack(folder, encoder.state_dict(), card)
    return folder


def test_the_same_seed_writes_the_same_text(tmp_path, capsys):
    packed = _packed(tmp_path / "packed")
    said = []
    for seed in ("1", "1", "2"):
        assert main(["generate", str(packed), "--prompt", "To be", "--length", "20", "--seed", seed]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]
    assert "\x1b" not in "".join(said) and not said[0].startswith("To be")


@pytest.mark.parametrize(
    ("knobs", "arguments", "words"),
    [
        (
            {"causal": False},
            ("--prompt", "a"),
            "generates no text; that takes a causal encoder",
        ),
        ({}, ("--prompt", "a" * 41), "--prompt: a prompt has 41 tokens; the model has 40 positions"),
        ({}, ("--prompt", "a", "--top-p", "0"), "top_p: Input should be greater than 0"),
        ({}, ("--prompt", "a", "--temperature", "-1"), "temperature: Input should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_written_is_one_line(knobs, arguments, words, tmp_path, capsys):
    assert main(["generate", str(_packed(tmp_path / "packed", **knobs)), *arguments]) == 1
    assert words in capsys.readouterr().err
