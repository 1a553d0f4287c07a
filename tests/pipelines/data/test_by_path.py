"""The source that reads what lies at a path."""

from pathlib import Path

import pytest

from pipelines.data.by_path import source_of
from pipelines.errors import UserError

RECIPE = "source: {name: series_csv, path: long.csv, time: date, window: 512, stride: 64}\n"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_folders_named_as_splits_are_the_splits(tmp_path: Path) -> None:
    for split in ("Train", "validation"):
        written(tmp_path / split / "a.csv", "x\n1\n")
    found = source_of(tmp_path, "series")
    assert (found["path"], found["test_path"]) == (str(tmp_path / "Train"), str(tmp_path / "validation"))


def test_a_table_says_its_times_and_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "Date,x,label\n2020-01-01,1,a\n")
    assert source_of(path, "series") == {"name": "series_csv", "path": str(path), "time": "Date", "label": "label"}
    assert "label" not in source_of(path, "series", labels=False)


def test_the_source_of_a_recipe_is_taken_as_it_is(tmp_path: Path) -> None:
    """Only a recipe knows how a long series is cut into windows."""
    found = source_of(written(tmp_path / "r.yaml", RECIPE), "series")
    assert found == {"name": "series_csv", "path": "long.csv", "time": "date", "window": 512, "stride": 64}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RECIPE, "its source gives series; the model reads image"),
        ("name: x\n", "a recipe without source.name"),
        ("source: {name: series_cvs}\n", "source.name: there is no 'series_cvs' in pipelines.data.sources; did you"),
    ],
)
def test_a_recipe_that_does_not_fit_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        source_of(written(tmp_path / "r.yaml", text), "image")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none", "none.yaml", "none/*.parquet"])
def test_what_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        source_of(tmp_path / name, "image")
