"""Parquet files with a column of time series."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipelines.data.sources._files import MAX_BYTES, missing_column
from pipelines.data.sources.base import Raw
from pipelines.data.sources.parquet import Parquet, is_label
from pipelines.errors import UserError
from pipelines.storage.printable import printable
from ssl_core.codecs._series.stored import SeriesValue
from ssl_core.codecs.base import DecodeError
from ssl_core.codecs.series import Series
from ssl_core.config import NamedConfig

CODEC = Series(Series.Config(max_values=MAX_BYTES // 4))  # the limit of the run's config is held where it is stored


class SeriesParquet(Parquet):
    """Parquet files: a column of time series as lists of numbers or as safetensors; optionally times and labels."""

    fields = {"series": "series"}

    class Config(NamedConfig):
        name: Literal["series_parquet"] = "series_parquet"
        path: Path
        """A file, a folder (searched all the way down for *.parquet) or a pattern such as data/train-*.parquet."""
        test_path: Path | None = None
        """The same for evaluation; without it `ingest.test_fraction` of the samples are held out."""
        series: str = "series"
        """Column of the series: list<number>, list<list<number>>, or safetensors with `values` and `time`."""
        order: Literal["channel_time", "time_channel"] = "channel_time"
        """Of a list of lists: a list per channel, or one per time step."""
        time: str | None = None
        """Column of the times: a list as long as the series, of integers or timestamps; these become nanoseconds."""
        label: str | None = None
        """Column with the labels: integers, text or booleans; null means not labelled."""
        group: str | None = None
        """Column of what samples share (machine, person, place): integers or text."""

    def __init__(self, config: Config):
        super().__init__(
            Parquet.Config(path=config.path, test_path=config.test_path, image=config.series, label=config.label)
        )
        self.order, self.time, self.group = config.order, config.time, config.group

    def _columns(self) -> list[str]:
        return list(dict.fromkeys([*super()._columns(), *filter(None, [self.time, self.group])]))

    def _check(self, schema: pa.Schema, path: Path) -> None:
        columns = {"series": self.image, "time": self.time, "label": self.label, "group": self.group}
        for option, name in columns.items():
            if name is None:
                continue
            if name not in schema.names:
                raise missing_column(f"source.{option}", name, path, schema.names)
            kind = schema.field(name).type
            holds, wanted = _WANTED[option]
            if not holds(kind):
                raise UserError(f"source.{option}: {path}: column '{name}' is {kind}; needs {wanted}")

    def _rows(self, batch: pa.RecordBatch) -> Iterable[dict[str, Any]]:
        """Numbers stay in Arrow: a list of a million Python numbers would take a second."""
        for row in range(batch.num_rows):
            yield {name: batch.column(name)[row] for name in self._columns()}

    def _sample(self, path: Path, file: str, row: int, sample: dict[str, Any]) -> Raw:
        label = None if self.label is None else _text(sample[self.label])
        group = None if self.group is None else _text(sample[self.group])
        given = sample[self.image]
        try:
            if not given.is_valid:
                raise DecodeError(f"null in column '{self.image}'")
            if _is_bytes(given.type):
                return Raw(file, row, CODEC.clean(given.as_py()), label, group=group or "")
            time = None if self.time is None else _times(sample[self.time], self.time)
            data = CODEC.encode(SeriesValue(self._values(given.values), time))
            return Raw(file, row, data, label, group=group or "")
        except DecodeError as error:
            return Raw(file, row, label=label, error=str(error), group=group or "")

    def _values(self, listed: pa.Array) -> Any:
        """[T] or [T, C]; null: NaN."""
        if not _is_list(listed.type):
            return _floats(listed)
        if listed.null_count:
            raise DecodeError(f"null among the lists of column '{self.image}'")
        lengths = np.unique(listed.value_lengths().to_numpy())
        if len(lengths) != 1:
            what = "channels" if self.order == "channel_time" else "steps"
            raise DecodeError(f"{what} differ in length: {', '.join(map(str, lengths[:4].tolist())) or 'none'}")
        values = _floats(listed.flatten()).reshape(len(listed), -1)
        return values.T if self.order == "channel_time" else values


def _floats(numbers: pa.Array) -> Any:
    return numbers.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _times(given: pa.Scalar, column: str) -> Any:
    if not given.is_valid or given.values.null_count:
        raise DecodeError(f"null in column '{column}'")
    times = given.values
    try:
        nanoseconds = times.cast(pa.timestamp("ns", times.type.tz)) if pa.types.is_timestamp(times.type) else times
        return nanoseconds.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        raise DecodeError(f"a time in column '{column}' lies outside 1678 to 2262") from None


def _text(given: pa.Scalar) -> str | None:
    value = given.as_py()
    return None if value is None else printable(str(value))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_numbers(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_series(kind: pa.DataType) -> bool:
    if not _is_list(kind):
        return _is_bytes(kind)
    inner = kind.value_type
    return _is_numbers(inner.value_type if _is_list(inner) else inner)


def _is_times(kind: pa.DataType) -> bool:
    return _is_list(kind) and (pa.types.is_integer(kind.value_type) or pa.types.is_timestamp(kind.value_type))


_WANTED = {
    "series": (_is_series, "list<number>, list<list<number>> or safetensors bytes"),
    "time": (_is_times, "a list of integers or timestamps"),
    "label": (is_label, "integers, text or booleans"),
    "group": (is_label, "integers or text"),
}
