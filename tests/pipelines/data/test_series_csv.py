"""What the CSV source of time series lists, reads and refuses."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.data.sources import series_csv
from pipelines.data.sources._series import table as series_table
from pipelines.data.sources.base import Raw
from pipelines.errors import UserError
from ssl_core.codecs.series import Series, SeriesValue
from tests.support.data import shared
from tests.support.images import write_tree
from tests.support.reading import SHARD_MB, made, refusal, samples

CODEC = Series(Series.Config())


def value(raw: Raw) -> SeriesValue:
    assert raw.data is not None, raw.error
    return CODEC.decode(raw.data)


def table(folder: Path, text: str, name: str = "x.csv") -> Path:
    write_tree(folder, {name: text.encode()})
    return folder / name


@pytest.fixture(params=[1 << 20, 40])
def any_block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where blocks end must not matter."""
    monkeypatch.setattr(series_table, "BLOCK_BYTES", request.param)


pytestmark = pytest.mark.usefixtures("any_block")
LONG = "id,t,a,b,y\n" + "".join(f"{i // 5},{10 * i},{i},{-i},{'pq'[i // 5 % 2]}\n" for i in range(20))


class TestFolder:
    def test_a_file_is_a_series_and_its_folder_the_label(self, tmp_path: Path) -> None:
        text = "\ufeffx,name,y\n1,one,\n2.5,two,NaN\n -3e2 ,three,4\n"
        write_tree(
            tmp_path / "d", {f"{name}.csv": text.encode() for name in ("b/2", "a/1", "a/deep/3", ".h/x", "a/.y")}
        )
        write_tree(tmp_path / "d", {"a/4.tsv": b"x\ty\r\n7\t8\r\n9\t10\r\n", "a/readme.md": b"hello"})
        found = samples(made("series_csv", path=tmp_path / "d", labels="folder"))
        assert [raw.origin for raw in found] == ["d/a/1.csv", "d/a/4.tsv", "d/a/deep/3.csv", "d/b/2.csv"]
        assert [raw.label for raw in found] == ["a", "a", "a", "b"]
        assert np.array_equal(value(found[0]).values, [[1, np.nan], [2.5, np.nan], [-300, 4]], equal_nan=True)
        assert value(found[1]).values.tolist() == [[7, 8], [9, 10]]
        assert {raw.label for raw in samples(made("series_csv", path=tmp_path / "d"))} == {None}

    def test_bad_files_lose_only_themselves(self, tmp_path: Path) -> None:
        bad = {
            "empty.csv": "",
            "header.csv": "t,x\n",
            "none.csv": "t,x\n1,\n2,NA\n",
            "one.csv": "t,x\n1,5\n",
            "back.csv": "t,x\n1,5\n3,6\n2,7\n",
            "again.csv": "t,x\n1,5\n1,6\n",
            "text.csv": "t,x\n1,5\n2,six\n3,7\n4,eight\n",
            "clock.csv": "t,x\n1,5\nnoon,6\n",
            "timeless.csv": "t,x\n1,5\n,6\n",
            "ragged.csv": "t,x\n1,5\n2,6,7\n3,8\n",
            "infinite.csv": "t,x\n1,5\n2,inf\n",
        }
        write_tree(tmp_path, {name: text.encode() for name, text in bad.items()})
        write_tree(
            tmp_path, {"binary.csv": b"t,x\n1,\xff\xfe\n", "good.csv": b"t,x\n1,5\n2,6\n", "0.csv": b"t,x\n1,5\n3,6\n"}
        )
        found = {raw.file.split("/")[-1]: raw for raw in samples(made("series_csv", path=tmp_path, time="t"))}
        said = {name: str(raw.error) for name, raw in found.items() if raw.error}
        assert set(found) - set(said) == {"good.csv", "0.csv"}
        for name, why in {
            "header.csv": "header but no rows",
            "none.csv": "0 values that are not missing",
            "one.csv": "1 values that are not missing",
            "back.csv": "times go backwards at row 2",
            "again.csv": "times repeat at row 1",
            "text.csv": "'six' in column 'x' at row 1 is not a number",
            "clock.csv": "'noon' in column 't' at row 1 is not a whole number",
            "timeless.csv": "no time in column 't' at row 1 is given",
            "ragged.csv": "row 1 has 3 cells, not 2",
            "infinite.csv": "infinite",
        }.items():
            assert why in said[name], name
        assert not any("\n" in why for why in said.values())


class TestLong:
    def test_rows_of_an_id_are_a_series(self, tmp_path: Path) -> None:
        found = samples(made("series_csv", path=table(tmp_path, LONG), id="id", time="t", label="y"))
        assert [(raw.origin, raw.label) for raw in found] == [
            ("x.csv#0", "p"), ("x.csv#5", "q"), ("x.csv#10", "p"), ("x.csv#15", "q")
        ]  # fmt: skip
        assert value(found[1]).values.tolist() == [[i, -i] for i in range(5, 10)]
        time = value(found[1]).time
        assert time is not None and time.tolist() == [50, 60, 70, 80, 90]

    def test_parts_start_where_their_rows_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = table(tmp_path, LONG)
        whole = samples(made("series_csv", path=path, id="id", window=2))
        monkeypatch.setattr("pipelines.data.sources._files.MAX_SAMPLES", 1)
        monkeypatch.setattr(series_csv, "MAX_SAMPLES", 1)
        source = made("series_csv", path=path, id="id", window=2)
        parts = source.parts(SHARD_MB)
        assert [part.count for part in parts] == [1] * 12
        assert [raw for part in parts for raw in source.read(part)] == whole
        assert list(source.read(parts[7])) == [whole[7]]

    def test_a_bad_cell_loses_its_series_only(self, tmp_path: Path) -> None:
        path = table(tmp_path, LONG.replace("\n1,70,7,", "\n1,70,seven,"))
        found = samples(made("series_csv", path=path, id="id", time="t"))
        assert [raw.error is None for raw in found] == [True, False, True, True]
        assert found[1].error == "'seven' in column 'a' at row 7 is not a number"

    def test_rows_of_an_id_that_lie_apart_are_refused(self, tmp_path: Path) -> None:
        path = table(tmp_path, LONG + "1,900,1,1,p\n")
        with pytest.raises(UserError, match="'1' comes again in column 'id' at row 20; sort the file by it"):
            made("series_csv", path=path, id="id").parts(SHARD_MB)

    def test_a_row_of_another_length_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"x\.csv: row.* has 2 cells, not 5: '7,8'"):
            made("series_csv", path=table(tmp_path, LONG + "7,8\n"), id="id").parts(SHARD_MB)

    def test_group(self, tmp_path: Path) -> None:
        found = samples(made("series_csv", path=table(tmp_path, LONG), id="id", group="y"))
        assert [raw.group for raw in found] == ["p", "q", "p", "q"]


class TestWindows:
    def test_windows_cover_every_row(self, tmp_path: Path) -> None:
        path = table(tmp_path, "x\n" + "".join(f"{i}\n" for i in range(23)))
        found = samples(made("series_csv", path=path, window=5, stride=4))
        assert [raw.row for raw in found] == [0, 4, 8, 12, 16, 18]
        assert [value(raw).values[:, 0].tolist() for raw in found] == [
            [float(i) for i in range(s, s + 5)] for s in (0, 4, 8, 12, 16, 18)
        ]
        assert {raw.group for raw in found} == {"x.csv#0"}
        assert [raw.row for raw in samples(made("series_csv", path=path, window=50))] == [0]
        assert [raw.row for raw in samples(made("series_csv", path=path, window=3, stride=10))] == [0, 10, 20]

    def test_a_bad_cell_loses_the_windows_that_show_it(self, tmp_path: Path) -> None:
        path = table(tmp_path, "x\n" + "".join(f"{'?' if i == 9 else i}\n" for i in range(20)))
        found = samples(made("series_csv", path=path, window=4, stride=2))
        assert [raw.row for raw in found if raw.error] == [6, 8]

    def test_every_series_of_a_long_table_is_cut(self, tmp_path: Path) -> None:
        found = samples(made("series_csv", path=table(tmp_path, LONG), id="id", window=3))
        assert [raw.row for raw in found] == [0, 2, 5, 7, 10, 12, 15, 17]

    def test_etth1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(series_table, "BLOCK_BYTES", 1 << 16)
        source = made("series_csv", path=shared("ett", "raw", "ETTh1.csv"), time="date", window=336, stride=100)
        found = samples(source)
        assert len(found) == 172 and all(raw.error is None for raw in found)
        assert {CODEC.extent(raw.data) for raw in found if raw.data} == {(336, 7)}
        time = value(found[0]).time
        assert time is not None and set(np.diff(time)) == {3600 * 10**9}


class TestTimes:
    @pytest.mark.parametrize(
        ("cells", "step"),
        [
            (["5", "7"], 2),
            (["0.5", "2"], 1_500_000_000),
            (["2020-01-01", "2020-01-02"], 86_400 * 10**9),
            (["2020-01-01 00:00:00", "2020-01-01T00:00:01.5"], 1_500_000_000),
            (["2020-01-01T00:00:00Z", "2020-01-01T02:00:00+01:00"], 3600 * 10**9),
        ],
    )
    def test_kinds(self, tmp_path: Path, cells: list[str], step: int) -> None:
        path = table(tmp_path, "t,x\n" + "".join(f"{cell},1\n" for cell in cells))
        (found,) = samples(made("series_csv", path=path, time="t"))
        time = value(found).time
        assert time is not None and time[1] - time[0] == step


def test_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "a,name,b,late,\n1,x,2,,\n3,y,4,5,\n")
    (found,) = samples(made("series_csv", path=path))
    assert value(found).values.shape == (2, 3)
    (found,) = samples(made("series_csv", path=path, values=["b", "a"]))
    assert value(found).values.tolist() == [[2, 1], [4, 3]]
    (found,) = samples(made("series_csv", path=path, values=["name"]))
    assert found.error == "'x' in column 'name' at row 0 is not a number"


def test_splits(tmp_path: Path) -> None:
    paths = {"path": table(tmp_path, LONG, "a.csv"), "test_path": table(tmp_path, LONG, "b.csv")}
    parts = made("series_csv", **paths, id="id").parts(SHARD_MB)
    assert [(part.split, part.count) for part in parts] == [("train", 4), ("test", 4)]


def test_refusals(tmp_path: Path) -> None:
    path = table(tmp_path, LONG)
    assert "did you mean 'id'?" in refusal("series_csv", path=path, id="idd")
    assert refusal("series_csv", path=path, time="tt").startswith("source.time: ")
    assert refusal("series_csv", path=path, label="yy").startswith("source.label: ")
    assert refusal("series_csv", path=path, values=["c"]).startswith("source.values: ")
    assert "no such file" in refusal("series_csv", path=tmp_path / "nowhere.csv")
    assert "no column of numbers" in refusal("series_csv", path=table(tmp_path, "a,b\nx,y\n", "words.csv"))
    assert "same name" in refusal("series_csv", path=table(tmp_path, "a,a\n1,2\n", "twice.csv"))
    assert "empty file" in refusal("series_csv", path=table(tmp_path, "", "empty.csv"))
    (tmp_path / "none").mkdir()
    assert "holds no *.csv" in refusal("series_csv", path=tmp_path / "none")
    for wrong in ({"stride": 3}, {"window": 0}, {"label": "y", "labels": "folder"}):
        with pytest.raises(ValidationError):
            made("series_csv", path=path, **wrong)


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "x\n1\n" + "2" * (5 << 20))
    with pytest.raises(UserError, match=r"a line of more than|larger than field limit"):
        made("series_csv", path=path, window=2).parts(SHARD_MB)


@pytest.mark.slow
def test_a_long_file_is_read_in_flat_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_table, "BLOCK_BYTES", 4 << 20)
    rows = b"".join(b"%d,%d\n" % (i % 97, i % 13) for i in range(100_000))
    with (tmp_path / "x.csv").open("wb") as file:
        file.write(b"a,b\n")
        for _ in range(100):
            file.write(rows)
    source = made("series_csv", path=tmp_path / "x.csv", window=1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts = source.parts(16)
    assert sum(part.count for part in parts) == 10_000
    assert sum(raw.data is not None for part in parts[:2] for raw in source.read(part)) == sum(
        p.count for p in parts[:2]
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # kB


def test_the_end_of_a_long_series_is_held_out_and_no_window_has_rows_of_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("a\n" + "\n".join(str(i) for i in range(1000)))
    source = series_csv.SeriesCsv(series_csv.SeriesCsv.Config(path=path, window=50, stride=20, test_tail=0.2))
    rows: dict[str | None, set[int]] = {"train": set(), "test": set()}
    for part in source.parts(1):
        for raw in source.read(part):
            assert raw.data is not None
            rows[part.split] |= set(CODEC.decode(raw.data).values[:, 0].astype(int).tolist())
    assert rows["train"] == set(range(800)) and rows["test"] == set(range(800, 1000)), "every row on one side"


def test_a_series_too_short_to_be_cut_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("a\n" + "\n".join(str(i) for i in range(60)))
    (part,) = series_csv.SeriesCsv(series_csv.SeriesCsv.Config(path=path, window=50, test_tail=0.2)).parts(1)
    assert part.split == "train" and part.count == 2


@pytest.mark.parametrize("keys", [{"test_tail": 0.2}, {"test_tail": 0.2, "window": 5, "test_path": Path("x")}])
def test_a_tail_needs_windows_and_no_other_test_data(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="test_tail needs a window, and no test_path"):
        series_csv.SeriesCsv.Config(path=Path("y"), **keys)
