"""CSV tables: of the paths of images, or of time series."""

import csv
import io
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pipelines.data.recognize import images, texts
from pipelines.data.recognize.found import LABELS, Images, Texts, TimeSeries, count
from pipelines.data.recognize.kinds import kind_of_suffix, no_source, suffix_of
from pipelines.data.recognize.listing import Listing, spread
from pipelines.data.recognize.series import Series, found
from pipelines.data.recognize.splits import by_role
from pipelines.data.sources import _layout
from pipelines.data.sources._files import reason
from pipelines.data.sources._series.table import Bad, columns_of, separator
from pipelines.errors import UserError
from pipelines.storage.printable import printable

HEAD_BYTES = 1 << 20
HEAD_ROWS = 1000
IDS = ("series_id", "series", "id", "unit", "machine", "sensor", "device", "subject", "case", "sample", "recording")
"""Columns that may tell the series of a table apart."""
TIMES = ("time", "timestamp", "date", "datetime", "t", "ts")
COUNTERS = ("id", "index", "row", "step", "unnamed: 0")
"""Columns that are left out of the channels where they count the rows."""
MIN_RUN = 8
"""Rows that lie together per id, on average, for a column to be taken for one."""


class Head(NamedTuple):
    """The first rows of a table."""

    path: Path
    names: list[str]
    rows: list[list[str]]
    num_rows: int
    """Of the whole table, about, unless it fits into the head."""

    def column(self, name: str) -> list[str]:
        place = self.names.index(name)
        return [row[place].strip() for row in self.rows if len(row) > place]


def recognize(listed: Listing, path: Path) -> Images | TimeSeries | Texts:
    """
    Raises:
        UserError: tables without a header, or neither with a column of image paths nor with numbers.
    """
    files = [each for each in listed.paths() if kind_of_suffix(suffix_of(each.name)) == "table"]
    roles = by_role(files)
    first = _head(roles["train"][0] if roles else files[0])
    if len(files) == 1 or (roles and all(len(some) == 1 for some in roles.values())):
        if column := _paths_of_images(first):
            return manifest(first, column, roles.get("test", [None])[0])
        if text := texts.column_of({name: first.column(name) for name in first.names}):
            label = texts.label_of(first.names)
            source = {
                "name": "text_table",
                "path": str(first.path),
                "text": text,
                **({"label": label} if label else {}),
            }
            source |= {"test_path": str(roles["test"][0])} if roles else {}
            what = f"about {count(first.num_rows)} texts in {printable(first.path.name)}"
            held, some = bool(roles), first.column(text)
            return texts.found(source, what, first.num_rows, some, texts.said(text, label), held=held)
        return _series(listed, path, [first], roles)
    return _series(listed, path, [_head(each) for each in spread(files)], roles)


def manifest(head: Head, column: str, test: Path | None) -> Images:
    """A table with a column of image paths."""
    cells = [cell for cell in head.column(column) if cell]
    folder = head.path.parent
    sizes, gray = images.looked(folder / cell for cell in spread(cells) if (folder / cell).is_file())
    if not sizes:
        raise no_source(head.path, f"column '{column}' names images such as {printable(cells[0])}, none below {folder}")
    label = next((name for name in LABELS if name in head.names), None)
    source = {"name": "csv_manifest", "path": str(head.path), "image": column}
    source |= {"test_path": str(test)} if test else {}
    source |= {"label": label} if label else {}
    assumed = [f"column '{column}' holds the paths"] + ([f"column '{label}' the labels"] if label else [])
    number = head.num_rows if test else round((1 - images.HELD_OUT) * head.num_rows)
    what = f"about {count(head.num_rows)} images named in {head.path.name}"
    return Images(source, what, number, (", ".join(assumed),), sizes=sizes, gray=gray)


def manifest_beside(listed: Listing) -> Images | None:
    """The table of a folder of images, if it is the only one and names them."""
    tables = [path for path in listed.paths() if kind_of_suffix(suffix_of(path.name)) == "table"]
    head = _head(tables[0]) if len(tables) == 1 else None
    column = head and _paths_of_images(head)
    if head is None or not column:
        return None
    there = any((head.path.parent / cell).is_file() for cell in head.column(column) if cell)
    return manifest(head, column, None) if there else None


def _head(path: Path) -> Head:
    try:
        with path.open("rb") as file:
            start, size = file.read(HEAD_BYTES), path.stat().st_size
        text = start.decode("utf-8-sig", "replace")  # it may end within a character
        whole = len(start) == size
        lines = text.splitlines(keepends=True) if whole else text.splitlines(keepends=True)[:-1]
        rows = list(csv.reader(io.StringIO("".join(lines)), delimiter=separator(path)))
    except (OSError, csv.Error) as error:
        raise UserError(f"{printable(str(path))}: not a readable CSV table ({reason(error)})") from None
    if not rows:
        raise UserError(f"{printable(str(path))}: is empty")
    num_rows = len(rows) - 1 if whole else int((len(rows) - 1) * size / max(1, len("".join(lines).encode())))
    return Head(path, rows[0], rows[1 : HEAD_ROWS + 1], num_rows)


def _paths_of_images(head: Head) -> str | None:
    for name in head.names:
        cells = [cell for cell in head.column(name) if cell][:20]
        if cells and all(kind_of_suffix(suffix_of(cell)) == "image" for cell in cells):
            return name
    return None


def _series(listed: Listing, path: Path, heads: list[Head], roles: dict[str, list[Path]]) -> TimeSeries:
    """
    Args:
        heads: of one table, or of some of many.
        roles: train and test tables, if the names say so.
    """
    head, alone = heads[0], len(heads) == 1
    if all(map(_is_number, head.names)):
        raise no_source(head.path, "has numbers for a header: the first line of a table names its columns")
    if odd := next((other for other in heads if other.names != head.names), None):
        raise no_source(
            path, f"{head.path.name} and {printable(odd.path.name)} differ in their columns "
            f"({_layout.first(head.names)}; {_layout.first(odd.names)})"
        )  # fmt: skip
    split = {} if roles else _layout.split_folders(listed.root, frozenset((".csv", ".tsv")))
    chosen, assumed = _columns(head, alone)
    try:
        values = columns_of(head.path, (), chosen.get("time"), {key: chosen.get(key) for key in ("id", "label")}).values
    except Bad as error:
        raise no_source(head.path, str(error)) from None
    kept: dict[str, list[str]] = {}
    counters = [name for name in values if name.lower() in COUNTERS and _counts(head.column(name))]
    if counters and len(counters) < len(values):
        values = tuple(name for name in values if name not in counters)
        kept["values"] = list(values)
        assumed.append(f"column '{counters[0]}' counts the rows and is left out")
    source: dict[str, Any] = {"name": "series_csv", "path": str(path), **chosen, **kept}
    if alone and not listed.names[1:]:
        source["path"] = str(head.path)
    for key, role in (("path", "train"), ("test_path", "test")):
        if role in roles or role in split:
            source[key] = str(roles[role][0] if role in roles else split[role])
    number = _number(listed, split)
    below = [name.partition("/")[2] for name in listed.names] if split else listed.names
    if "label" not in chosen and _class_folders(below):
        source["labels"] = "folder"
        assumed.append("the first-level folders are the classes")
    lengths = [each.num_rows for each in heads]
    if "id" in chosen:
        lengths = _runs(head.column(chosen["id"]))
        number = max(1, round(head.num_rows / median(lengths)))
    elif alone or roles:
        number = 1
    held = bool(roles or split)
    return found(Series(source, number, listed.complete, median(lengths), len(values), values, held, tuple(assumed)))


def _columns(head: Head, alone: bool) -> tuple[dict[str, str], list[str]]:
    """Keys of the source for what is no channel, and a line for each."""
    lower = {name.lower(): name for name in reversed(head.names)}
    chosen, assumed = dict[str, str](), list[str]()
    ids = [lower[name] for name in IDS if name in lower] if alone else []
    if found_id := next((name for name in ids if _tells_apart(head.column(name))), None):
        chosen["id"] = found_id
        assumed.append(f"column '{found_id}' tells the series apart")
    apart = head.column(found_id) if found_id else [""] * len(head.rows)
    for name in (lower[name] for name in TIMES if name in lower):
        if _increases(head.column(name), apart):
            chosen["time"] = name
            assumed.append(f"column '{name}' is the time")
            break
    if label := next((lower[name] for name in LABELS if name in lower), None):
        chosen["label"] = label
        assumed.append(f"column '{label}' holds the labels")
    return chosen, assumed


def _runs(cells: list[str]) -> list[int]:
    """Rows of each run of equal cells; without the last one, which the head may cut."""
    begins = [0, *(place + 1 for place, (one, next_) in enumerate(pairwise(cells)) if one != next_)]
    return [end - begin for begin, end in pairwise(begins)] or [len(cells)]


def _tells_apart(cells: list[str]) -> bool:
    runs = _runs(cells)
    together = len(runs) + 1 == len(set(cells))
    return len(set(cells)) > 1 and together and median(runs) >= MIN_RUN


def _counts(cells: list[str]) -> bool:
    numbers = [int(cell) for cell in cells if cell.isdecimal()]
    return len(numbers) == len(cells) and all(next_ - one == 1 for one, next_ in pairwise(numbers))


def _increases(cells: list[str], apart: list[str]) -> bool:
    """Whether numbers, or dates that are read as such, are ever later within each series."""
    import pyarrow as pa

    for kind in (pa.int64(), pa.float64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
        try:
            times = pa.array(cells, pa.string()).cast(kind).cast(pa.float64() if kind == pa.float64() else pa.int64())
        except pa.ArrowInvalid:
            continue
        steps = zip(pairwise(times.to_pylist()), pairwise(apart), strict=False)
        return len(cells) > 1 and all(later > earlier for (earlier, later), (one, next_) in steps if one == next_)
    return False


def _number(listed: Listing, split: dict[str, Path]) -> int:
    """Tables to train on."""
    inside = f"{split['train'].name}/" if split else ""
    return sum(name.startswith(inside) and kind_of_suffix(suffix_of(name)) == "table" for name in listed.names)


def _class_folders(names: tuple[str, ...] | list[str]) -> bool:
    parts = [name.partition("/") for name in names if kind_of_suffix(suffix_of(name)) == "table"]
    return all(slash for _, slash, _ in parts) and len({folder for folder, _, _ in parts}) > 1


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
