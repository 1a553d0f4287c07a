"""What the sources of text read and refuse; nothing is lost."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.sources._text import rows
from pipelines.data.sources.base import Raw
from pipelines.errors import UserError
from tests.support.data import shared
from tests.support.reading import made, samples


def said(raw: Raw) -> bytes | str:
    return raw.data if raw.data is not None else str(raw.error)


def refusal(name: str, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        made(name, **settings).parts(1)
    assert "\n" not in str(error.value)
    return str(error.value)


def table(folder: Path, name: str, data: str | bytes, **settings: Any) -> list[Raw]:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return samples(made("text_table", path=folder / name, **settings))


def test_a_folder_of_texts_with_classes(tmp_path: Path) -> None:
    for name, data in (("a/1.txt", b"one"), ("b/2.TXT", b"two"), ("b/notes.pdf", b"%PDF"), ("b/plain", b"x")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = made("text_folder", path=tmp_path)
    found = samples(source)
    assert [(raw.label, said(raw), raw.other) for raw in found] == [
        ("a", b"one", False),
        ("b", b"two", False),
        ("b", "not a text (.pdf)", True),
        ("b", b"x", False),
    ]
    assert source.remarks == ("1 files of other kinds left out (.pdf)",)


def test_train_and_test_folders_are_the_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "x.txt").write_text(split + label)
    parts = made("text_folder", path=tmp_path).parts(1)
    assert [(part.split, part.count) for part in parts] == [("train", 2), ("test", 2)]


def test_a_folder_without_texts_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    assert "has 1 files but no text among them, the first is x.png; texts end in .md .text .txt" in refusal(
        "text_folder", path=tmp_path
    )


def test_json_lines_one_by_one(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"text": "caf\u00e9", "y": "a"},
        {"text": "", "y": 3},
        {"text": None},
        {"text": ["x"], "y": True},
        {"body": "x"},
        [1],
        {"text": "\ud800", "y": ""},
    ]
    lines = [json.dumps(row) for row in rows]
    data = "\ufeff" + "\n\n".join(lines) + "\n{not json\n" + '{"text": "last"}'
    found = table(tmp_path, "x.jsonl", data.encode() + b'\n{"text": "\xff"}\n', label="y")
    assert [said(raw) for raw in found[:7]] == [
        "caf\u00e9".encode(),
        b"",  # the codec says that it is empty
        "null in 'text'; needs text",
        "list in 'text'; needs text",
        "no key 'text'",
        "is list; needs a JSON object per line",
        "half a surrogate pair in 'text'; needs text",
    ]
    assert [raw.label for raw in found[:4]] == ["a", "3", None, "True"] and found[6].label is None
    assert "not a line of JSON" in said(found[7]) and said(found[8]) == b"last"  # type: ignore[operator]
    assert "utf-8" in str(found[9].error) and len(found) == 10
    assert [raw.origin for raw in found[:2]] == ["x.jsonl#0", "x.jsonl#1"]


def test_csv_with_quotes_lines_within_cells_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    data = b'text,y\n"a, ""b""\nc",1\n\n\xff\xfe,2\n,\nonly one\nx\0y,3\n'
    found = table(tmp_path, "x.csv", data, label="y")
    assert [said(raw) for raw in found] == [
        b'a, "b"\nc',
        b"\xff\xfe",
        b"",
        "1 cells, the header has 2",
        b"x\0y",
    ]
    assert [raw.label for raw in found] == ["1", "2", None, None, "3"]


def test_lines_of_a_text_file(tmp_path: Path) -> None:
    found = table(tmp_path, "x.txt", b"first\r\n\n  \nsecond\nlast")
    assert [said(raw) for raw in found] == [b"first\r\n", b"second\n", b"last"]


def test_parquet_of_text_and_of_bytes(tmp_path: Path) -> None:
    texts = pa.array([b"one", None, b"\xff", b""], pa.binary())
    columns = {"t": texts.view(pa.string()), "d": pa.array(["x"] * 4).dictionary_encode(), "y": [1, 2, 3, None]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=3)
    found = samples(made("text_table", path=tmp_path / "x.parquet", text="t", label="y"))
    assert [said(raw) for raw in found] == [b"one", "null in column 't'", b"\xff", b""]
    assert [raw.label for raw in found] == ["1", "2", "3", None]
    assert said(samples(made("text_table", path=tmp_path, text="d"))[3]) == b"x"
    assert "column 'y' is int64; needs text" in refusal("text_table", path=tmp_path / "x.parquet", text="y")
    assert "has no column 'text'; it has t, d, y" in refusal("text_table", path=tmp_path / "x.parquet")


def test_parts_begin_where_rows_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.data.sources._files.MAX_SAMPLES", 3)
    for name, head, cell in (
        ("x.csv", "text\n", '"row {}\n and, more"\n'),
        ("x.jsonl", "", '{{"text": "row {}"}}\n\n'),
    ):
        (tmp_path / name).write_text(head + "".join(cell.format(i) for i in range(10)))
        source = made("text_table", path=tmp_path / name)
        parts = source.parts(1)
        assert [part.count for part in parts] == [3, 3, 3, 1]
        found = [raw for part in reversed(parts) for raw in source.read(part)]
        assert sorted(raw.data or b"" for raw in found) == sorted(raw.data or b"" for raw in samples(source))
        assert [raw.row for part in parts for raw in source.read(part)] == list(range(10))
        assert (found[0].data or b"").startswith(b"row 9")


def test_a_line_that_would_fill_the_memory_is_a_bad_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_BYTES", 1 << 20)
    long = b"x" * (5 << 20)
    found = table(tmp_path, "x.txt", b"before\n" + long + b"\nafter\n")
    assert [said(raw) for raw in found] == [b"before\n", "a line of more than 1 MB", b"after\n"]
    (tmp_path / "x.csv").write_bytes(b"text\n" + long + b"\n")
    assert "a line of more than 1 MB" in refusal("text_table", path=tmp_path / "x.csv")


def test_a_file_that_became_shorter_since_it_was_listed_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("a\nb\nc\n")
    source = made("text_table", path=path)
    (part,) = source.parts(1)
    path.write_text("a\n")
    assert [said(raw) for raw in source.read(part)] == [b"a\n", *["no longer there: the file has changed"] * 2]


def test_groups_and_targets(tmp_path: Path) -> None:
    data = 'text,who,spans\na,x,"[[0, 1]]"\nb,y,no json\n'
    found = table(tmp_path, "x.csv", data, group="who", targets={"spans": "spans"})
    assert [raw.group for raw in found] == ["x", "y"]
    assert found[0].targets == {"spans": "[[0, 1]]"} and "no spans in this row" in str(found[1].error)


@pytest.mark.parametrize(
    ("name", "data", "settings", "told"),
    [
        ("x.csv", "txt,y\na,1\n", {}, "source.text: .* has no column 'text'; did you mean 'txt'"),
        ("x.csv", "text,y\na,1\n", {"label": "z"}, "source.label: .* has no column 'z'"),
        ("x.csv", "text,text\na,1\n", {}, "has the column 'text' twice"),
        ("x.csv", "text\n", {}, "source.path: .* has no rows"),
        ("x.jsonl", "", {}, "source.path: .* has no rows"),
        ("x.docx", "PK", {}, "ends in '.docx'; text is read from"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, name: str, data: str, settings: dict[str, Any], told: str) -> None:
    (tmp_path / name).write_text(data)
    assert re.search(told, refusal("text_table", path=tmp_path / name, **settings))


def test_a_folder_of_several_kinds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\na\n")
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    assert "files of several kinds (.csv .jsonl)" in refusal("text_table", path=tmp_path)


def test_published_texts() -> None:
    folder = shared("banking77")
    found = samples(
        made("text_table", path=folder / "train.parquet", test_path=folder / "test.parquet", label="label_name")
    )
    assert len(found) == 10_003 + 1_540 and len({raw.label for raw in found}) == 77
    assert all(raw.data for raw in found)
