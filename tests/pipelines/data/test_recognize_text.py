"""Texts are recognized, and get the shipped recipe at the size of their median."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.recognize.recipe import propose

TEXTS = [f"this is text number {i} of some words" for i in range(60)]


def test_json_lines_with_labels(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": i, "body": text, "label": i % 2}) + "\n" for i, text in enumerate(TEXTS)))
    tree = propose(path).tree
    assert tree["source"] == {"name": "text_table", "path": str(path), "text": "body", "label": "label"}
    assert tree["name"] == "corpus" and tree["encoder"]["name"] == "text_transformer"
    assert tree["views"]["eval"]["length"] == tree["views"]["global"]["length"] == 64


def test_csv_and_parquet_with_their_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = "".join(f'"{text}",{i % 2}\n' for i, text in enumerate(TEXTS))
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / f"{split}.csv").write_text("sentence,label\n" + rows)
        (tmp_path / "p").mkdir(exist_ok=True)
        pq.write_table(pa.table({"question": TEXTS, "label": ["a", "b"] * 30}), tmp_path / "p" / f"{split}.parquet")
    for folder, column, suffix in (("c", "sentence", "csv"), ("p", "question", "parquet")):
        source = propose(tmp_path / folder).tree["source"]
        assert source == {
            "name": "text_table",
            "path": str(tmp_path / folder / f"train.{suffix}"),
            "test_path": str(tmp_path / folder / f"test.{suffix}"),
            "text": column,
            "label": "label",
        }


def test_a_folder_of_files_and_one_file_of_lines(tmp_path: Path) -> None:
    for i, text in enumerate(TEXTS):
        (tmp_path / "many" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "many" / "ab"[i % 2] / f"{i}.txt").write_text(text)
    proposal = propose(tmp_path / "many")
    assert proposal.tree["source"] == {"name": "text_folder", "path": str(tmp_path / "many")}
    assert "60 texts in 2 class folders (a, b)" in proposal.lines[0]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "lines.txt").write_text("\n\n".join(TEXTS))
    assert propose(tmp_path / "one").tree["source"]["path"] == str(tmp_path / "one" / "lines.txt")
