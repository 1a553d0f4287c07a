"""Parquet files with a column of text, for `text_table`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.data.sources._files import missing_column
from pipelines.data.sources.base import Raw
from pipelines.data.sources.parquet import Parquet, is_label
from pipelines.errors import UserError


class TextParquet(Parquet):
    """Files and row groups are read as `parquet` reads them."""

    fields = {"text": "text"}

    def _check(self, schema: pa.Schema, path: Path) -> None:
        for option, name, holds, wanted in (
            ("source.text", self.image, is_text, "text"),
            ("source.label", self.label, is_label, "integers, text or booleans"),
            *((f"source.targets.{name}", name, lambda kind: True, "") for name in self.targets),
        ):
            if name is None:
                continue
            if name not in schema.names:
                raise missing_column(option, name, path, schema.names)
            if not holds(kind := schema.field(name).type):
                raise UserError(f"{option}: {path}: column '{name}' is {kind}; needs {wanted}")

    def _rows(self, batch: pa.RecordBatch) -> Iterable[dict[str, Any]]:
        """Texts as bytes: Arrow does not hold that they are UTF-8, and the codec says so sample by sample."""
        column = batch.column(self.image)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        texts = column.cast(kind).cast(pa.large_binary()).to_pylist()
        others = batch.drop_columns(self.image).to_pylist() if batch.num_columns > 1 else [{}] * len(texts)
        return ({**row, self.image: text} for row, text in zip(others, texts, strict=True))

    def _sample(self, path: Path, file: str, row: int, sample: dict[str, Any]) -> Raw:
        label = None if self.label is None or sample[self.label] is None else str(sample[self.label])
        if (text := sample[self.image]) is None:
            return Raw(file, row, label=label, error=f"null in column '{self.image}'")
        return Raw(file, row, text, label)


def is_text(kind: pa.DataType) -> bool:
    """Text, or bytes of text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    of_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(of_text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
