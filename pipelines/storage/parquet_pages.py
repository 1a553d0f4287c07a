"""How large the pages of a Parquet column say they become, before any is decompressed.

Page headers are read as the format writes them: Thrift's compact protocol
(https://github.com/apache/parquet-format, PageHeader in parquet.thrift).
"""

from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

FREE = 64 << 20
"""A page up to this size may be compressed as well as it likes."""
MAX_RATIO = 16
"""Above it, a page may take this many times its stored size: images and paths take one to four."""
_HEADER = 64 << 10
_UNCOMPRESSED, _COMPRESSED = 2, 3  # field numbers


def check(path: Path, metadata: pq.FileMetaData, group: int, columns: list[str]) -> int:
    """Walk the page headers of some columns of a row group.

    Returns: bytes of the largest page: by way of a dictionary or of shared prefixes each row may be as large as that.

    Raises:
        pa.ArrowInvalid: a page would blow up (a decompression bomb), or the chain of headers is damaged.
    """
    largest = 0
    found = metadata.row_group(group)
    with path.open("rb") as file:
        for chunk in (found.column(index) for index in range(found.num_columns)):
            if any(f"{chunk.path_in_schema}.".startswith(f"{column}.") for column in columns):
                largest = max(largest, _walk(file, chunk))
    return largest


def _walk(file: BinaryIO, chunk: pq.ColumnChunkMetaData) -> int:
    """Bytes of the largest page of one column chunk."""
    at, largest = chunk.data_page_offset, 0
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        at = min(at, chunk.dictionary_page_offset)
    end = at + chunk.total_compressed_size
    while at < end:
        file.seek(at)
        try:
            length, size, stored = _page_header(file.read(_HEADER))
        except (IndexError, RecursionError):
            raise pa.ArrowInvalid(f"damaged page header at byte {at}") from None
        if size < 0 or stored < 0:
            raise pa.ArrowInvalid(f"damaged page header at byte {at}")
        if size > max(FREE, MAX_RATIO * stored):
            raise pa.ArrowInvalid(f"a page of {stored >> 10} kB says it becomes {size >> 20} MB: a decompression bomb")
        largest = max(largest, size)
        at += length + stored
    return largest


def _page_header(data: bytes) -> tuple[int, int, int]:
    """Bytes of the header itself, of the page uncompressed, and as it is stored."""
    reader = _Compact(data)
    seen = reader.struct()
    return reader.at, seen.get(_UNCOMPRESSED, -1), seen.get(_COMPRESSED, -1)


class _Compact:
    """Just enough of Thrift's compact protocol to get past a struct; whatever is odd is an IndexError."""

    def __init__(self, data: bytes):
        self._data, self.at = data, 0

    def struct(self) -> dict[int, int]:
        """Integer fields by number; all others are passed over."""
        seen: dict[int, int] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            if kind in (4, 5, 6):  # i16, i32, i64
                seen[number] = self._zigzag()
            else:
                self._pass(kind)
        return seen

    def _pass(self, kind: int) -> None:
        if kind in (1, 2):  # booleans lie in the field's head
            return
        if kind == 3:
            self._skip(1)
        elif kind in (4, 5, 6):
            self._varint()
        elif kind == 7:
            self._skip(8)
        elif kind == 8:  # bytes
            self._skip(self._varint())
        elif kind == 12:
            self.struct()
        else:  # lists and maps: a page header has none
            raise IndexError(kind)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise IndexError(self.at)

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise IndexError(shift)
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
