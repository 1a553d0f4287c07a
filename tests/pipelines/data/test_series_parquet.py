"""What the Parquet source of time series reads and refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from pipelines.data.sources.base import Raw
from pipelines.errors import UserError
from ssl_core.codecs.series import Series, SeriesValue
from tests.support.data import shared
from tests.support.reading import made, refusal, samples

CODEC = Series(Series.Config())


def written(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "x.parquet", row_group_size=2)
    return folder / "x.parquet"


def value(raw: Raw) -> SeriesValue:
    assert raw.data is not None, raw.error
    return CODEC.decode(raw.data)


def test_lists_of_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, {"series": [[1.0, None, 3.0], None, [4.0], []], "y": [1, None, 0, 1], "g": list("abab")})
    found = samples(made("series_parquet", path=path, label="y", group="g"))
    assert np.array_equal(value(found[0]).values, [[1], [np.nan], [3]], equal_nan=True)
    assert [raw.error for raw in found[1:]] == [
        "null in column 'series'",
        "1 values that are not missing; needs 2 or more",
        "0 values that are not missing; needs 2 or more",
    ]
    assert [raw.label for raw in found] == ["1", None, "0", "1"]
    assert [raw.group for raw in found] == list("abab")
    assert [raw.origin for raw in found[:2]] == ["x.parquet#0", "x.parquet#1"]


def test_lists_of_lists_in_both_orders(tmp_path: Path) -> None:
    rows = [[[1, 2, 3], [4, 5, 6]], [[1, 2], [3]], [[1, 2], None], []]
    path = written(tmp_path, {"series": pa.array(rows, pa.list_(pa.list_(pa.int32())))})
    found = samples(made("series_parquet", path=path))
    assert value(found[0]).values.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert found[1].error == "channels differ in length: 1, 2"
    assert found[2].error == "null among the lists of column 'series'"
    assert found[3].error == "channels differ in length: none"
    other = samples(made("series_parquet", path=path, order="time_channel"))
    assert value(other[0]).values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert other[1].error == "steps differ in length: 1, 2"


def test_safetensors(tmp_path: Path) -> None:
    good = save({"values": np.ones((3, 2)), "time": np.array([1, 5, 6])})
    found = samples(made("series_parquet", path=written(tmp_path, {"series": [good, b"bad", None]})))
    time = value(found[0]).time
    assert time is not None and time.tolist() == [1, 5, 6]
    assert [raw.error for raw in found[1:]] == ["not a safetensors file", "null in column 'series'"]


def test_times(tmp_path: Path) -> None:
    series = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    times = [[0, 1000], [1000, 0], None, [1]]
    path = written(tmp_path, {"series": series, "t": pa.array(times, pa.list_(pa.timestamp("ms")))})
    found = samples(made("series_parquet", path=path, time="t"))
    time = value(found[0]).time
    assert time is not None and time.tolist() == [0, 10**9]
    assert [raw.error for raw in found[1:3]] == ["times go backwards at row 1", "null in column 't'"]
    assert str(found[3].error).startswith("time is int64 [1]; needs one whole number")


def test_refusals(tmp_path: Path) -> None:
    path = written(tmp_path, {"series": [["a"]], "x": [[1.0]], "t": [[1.5]], "y": [[1]]})
    assert "needs list<number>" in refusal_of(path)
    assert "did you mean 'series'?" in refusal_of(path, series="serie")
    assert "a list of integers or timestamps" in refusal_of(path, series="x", time="t")
    assert "integers, text or booleans" in refusal_of(path, series="x", label="y")
    assert "no such file" in refusal("series_parquet", path=tmp_path / "nowhere.parquet")


def refusal_of(path: Path, **options: str) -> str:
    """The fingerprint does not look into the files, so that it stays cheap."""
    with pytest.raises(UserError) as error:
        made("series_parquet", path=path, **options).parts(1)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_ucr_and_uea() -> None:
    for name, extent in (("BasicMotions", (100, 6)), ("GunPoint", (150, 1)), ("JapaneseVowels", (20, 12))):
        found = samples(made("series_parquet", path=shared("ucr_uea", name, "train.parquet"), label="label_name"))
        assert all(raw.error is None and raw.label for raw in found)
        assert found[0].data and CODEC.extent(found[0].data) == extent
