"""Views of unequal length on their way to a method, and a trained tokenizer on its way with a model."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.data.tokenizer_stage import _filled
from pipelines.errors import UserError
from pipelines.model import card_file, loader
from pipelines.model.card_file import Card
from pipelines.train.loop import to_batch
from ssl_core.augment.text_eval import TextEval
from ssl_core.build import build_method
from ssl_core.catalog import find
from ssl_core.tokenizers.base import PAD
from ssl_core.tokenizers.byte_bpe import ByteBPE, trained

TEXTS = ["the cat sat on the mat", "a", "the log"]


def _file(folder: Path) -> Path:
    (folder / "given.json").write_text(trained(TEXTS * 3, ByteBPE.Config(vocab_size=270)))
    return folder / "given.json"


def _view(**tokenizer: Any) -> Any:
    return TextEval.Config.model_validate(
        {"length": 12, "tokenizer": {"name": "byte_bpe", "vocab_size": 270, **tokenizer}}
    )


def test_a_batch_says_where_there_is_text() -> None:
    chain = TextEval(TextEval.Config(length=12))
    made = chain(TEXTS, np.arange(3), 0)
    ids = np.arange(3)
    arrays = {"sample_id": ids, "planned_id": ids, "view0": made.x, "view0.length": made.length}
    arrays |= {"view1": made.x, "view1.length": made.length}
    batch = to_batch(arrays, [chain, chain], [0, 1], torch.device("cpu"), None)
    assert batch.views[0].dtype == torch.int64
    valid = batch.valid_of(1)
    assert valid is not None and torch.equal(valid, batch.views[1] != PAD)
    x, both = batch.together
    assert both is not None and len(x) == 6 and torch.equal(both, x != PAD)


def test_a_method_that_would_take_padding_for_data_is_refused() -> None:
    views = {"eval": TextEval.Config(), "global": TextEval.Config()}
    method, encoder = (find(f"ssl_core.{p}", n).Config() for p, n in (("methods", "vicreg"), ("encoders", "convnet")))
    with pytest.raises(ValueError, match=r"vicreg would take padding for data; of ragged views it can be .*simclr"):
        build_method(method, encoder, views, device="meta")


def test_a_given_tokenizer_is_known_by_its_content(tmp_path: Path) -> None:
    path = _file(tmp_path)
    given: Any = SimpleNamespace()
    filled: Any = _filled(given, _view(file=path), given, tmp_path)
    assert filled.tokenizer.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert filled.tokenizer.file == path and TextEval(filled).texts(TextEval(filled)(TEXTS, np.arange(3), 0).x) == TEXTS
    with pytest.raises(UserError, match="no such file"):
        _filled(given, _view(file=tmp_path / "none.json"), given, tmp_path)
    assert _filled(given, TextEval.Config(), given, tmp_path) == TextEval.Config()


def test_a_packed_model_brings_its_tokenizer_and_refuses_another(tmp_path: Path) -> None:
    path = _file(tmp_path)
    view = _view(file=path).model_dump(mode="json")
    card = Card(
        name="x", encoder={"name": "x"}, view=view, view_shape=(12,), embed_dim=4, sha256="", checkpoint="", shards=""
    )
    packed = tmp_path / "packed"
    card = loader.pack(packed, {"w": torch.ones(1)}, card)
    path.unlink()
    assert card_file.files_of(card) == (card_file.CARD, card_file.WEIGHTS, card_file.TOKENIZER)
    assert card.view["tokenizer"]["file"] == card_file.TOKENIZER and len(card.view["tokenizer"]["sha256"]) == 64
    moved = packed.rename(tmp_path / "moved")
    chain: Any = loader.load_chain(moved)
    assert chain.texts(chain(TEXTS, np.arange(3), 0).x) == TEXTS
    (moved / card_file.TOKENIZER).write_text((moved / card_file.TOKENIZER).read_text() + "\n")
    with pytest.raises(UserError, match="its sha256 is"):
        loader.load_chain(moved)
