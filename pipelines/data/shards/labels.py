"""The labels of a split, looked up file by file: memory stays flat however many samples there are.

Shapes: n rows of one file.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.data.shards.schema import LABELS
from pipelines.storage import parquet

FILES_KEPT = 256
"""Label files in memory at once: about 100 kB each, and a shuffle window reaches into some 64."""

Ints = NDArray[np.int64]


class Labels(Mapping[int, int]):
    """Sample id -> class number. Ids rise from file to file, as ingest counts them, so a look-up bisects."""

    def __init__(self, paths: Sequence[Path], classes: Sequence[str]):
        self._paths, self._number = paths, {text: index for index, text in enumerate(classes)}
        self._first = lru_cache(maxsize=None)(self._read_first)  # one number per file
        self._file = lru_cache(maxsize=FILES_KEPT)(self._read)

    def __getitem__(self, sample_id: int) -> int:
        index = bisect_right(range(len(self._paths)), sample_id, key=self._first) - 1
        if index >= 0:
            ids, classes = self._file(index)
            row = int(np.searchsorted(ids, sample_id))
            if row < len(ids) and ids[row] == sample_id:
                return int(classes[row])
        raise KeyError(sample_id)

    def __iter__(self) -> Iterator[int]:
        for index in range(len(self._paths)):
            yield from self._file(index)[0].tolist()

    def __len__(self) -> int:
        return sum(len(self._file(index)[0]) for index in range(len(self._paths)))

    def numbers(self) -> set[int]:
        """The class numbers that occur."""
        return {int(number) for index in range(len(self._paths)) for number in np.unique(self._file(index)[1])}

    def __bool__(self) -> bool:
        return bool(self._paths)

    def _read(self, index: int) -> tuple[Ints, Ints]:
        """([n] sample ids, [n] class numbers) of one file."""
        table = parquet.table(self._paths[index], LABELS)
        numbers = (self._number[text] for text in table["label"].to_pylist())
        return table["sample_id"].to_numpy(), np.fromiter(numbers, np.int64, table.num_rows)

    def _read_first(self, index: int) -> int:
        """The first sample id of a file, from its footer where that says it."""
        with parquet.opened(self._paths[index]) as file:
            statistics = file.metadata.row_group(0).column(0).statistics
        return int(statistics.min) if statistics and statistics.has_min_max else int(self._file(index)[0][0])
