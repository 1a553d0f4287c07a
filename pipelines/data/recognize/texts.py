"""Texts: a folder of files, or a column of a table."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.data.recognize.found import LABELS, Texts, count
from pipelines.data.recognize.images import HELD_OUT
from pipelines.data.recognize.kinds import KINDS, kind_of_suffix, no_source, suffix_of
from pipelines.data.recognize.listing import Listing, spread
from pipelines.data.recognize.splits import by_role
from pipelines.data.sources import _layout
from pipelines.errors import UserError
from pipelines.storage.printable import printable

NAMES = ("text", "sentence", "review", "question", "document", "content", "body", "title", "utterance", "query")
"""Columns taken for the texts, the first one that is there."""
HEAD_BYTES = 1 << 20
FEWEST_WORDS = 3
"""Words of a cell, in the middle, for a column of another name to be taken for texts."""


def recognize(listed: Listing, path: Path) -> Texts:
    """JSON Lines, or text files.

    Raises:
        UserError: JSON Lines without a key that holds texts, or none of the files is readable text.
    """
    tables = [each for each in listed.paths() if suffix_of(each.name) in (".jsonl", ".ndjson")]
    if tables:
        return _json_lines(tables, path)
    names = [name for name in listed.names if kind_of_suffix(suffix_of(name)) == "text"]
    if len(names) == 1:
        file = listed.root / names[0]
        lines = [line for line in _head(file).splitlines() if line.strip()]
        number = _scaled(len(lines), file)
        what = f"about {count(number)} lines of text in {printable(file.name)}"
        return found({"name": "text_table", "path": str(file)}, what, number, lines, ())
    splits = _layout.split_folders(listed.root, KINDS["text"])
    inside = {name.partition("/")[0] for name in names if "/" in name}
    what, number = f"{count(len(names), listed.complete)} texts", len(names)
    if splits:
        number = sum(name.startswith(f"{splits['train'].name}/") for name in names)
        what += f" in {splits['train'].name}/ and {splits['test'].name}/"
    elif len(inside) > 1 and all("/" in name for name in names):
        what += f" in {count(len(inside), listed.complete)} class folders ({_layout.first(sorted(inside))})"
    some = [_head(listed.root / name) for name in spread(names)]
    source = {"name": "text_folder", "path": str(path)}
    return found(source, what, number if listed.complete else None, some, (), held=bool(splits))


def found(
    source: Mapping[str, Any],
    what: str,
    number: int | None,
    some: Iterable[str],
    assumed: tuple[str, ...],
    held: bool = False,
) -> Texts:
    """
    Args:
        number: of the texts, or of those to train on where others are `held` out; None: not counted.
        some: of the texts.
    """
    lengths = [len(text.encode("utf-8", "replace")) for text in some if text]
    num_train = number if number is None or held else round((1 - HELD_OUT) * number)
    return Texts(dict(source), what, num_train, assumed, num_bytes=round(median(lengths or [1])))


def column_of(cells: Mapping[str, list[Any]]) -> str | None:
    """The column that holds texts; None: there is none."""
    texts = {name: [cell for cell in some if isinstance(cell, str) and cell.strip()] for name, some in cells.items()}
    texts = {name: some for name, some in texts.items() if some and name not in LABELS}
    for name in NAMES:
        if name in texts and median(len(cell.split()) for cell in texts[name]) >= 2:
            return name
    words = {name: median(len(cell.split()) for cell in some) for name, some in texts.items()}
    return max((name for name in words if words[name] >= FEWEST_WORDS), key=lambda name: words[name], default=None)


def label_of(names: Iterable[str]) -> str | None:
    there = set(names)
    return next((name for name in LABELS if name in there), None)


def said(column: str, label: str | None) -> tuple[str, ...]:
    return (f"column '{column}' holds the texts" + (f", column '{label}' the labels" if label else ""),)


def _json_lines(files: list[Path], path: Path) -> Texts:
    roles = by_role(files)
    first = roles["train"][0] if roles else files[0]
    rows = [row for row in map(_object, _head(first).splitlines()) if row]
    cells = {key: [row.get(key) for row in rows] for key in (rows[0] if rows else ())}
    column = column_of(cells)
    if column is None:
        raise no_source(first, f"no key of its JSON objects holds texts ({printable(', '.join(cells))[:200]})")
    label = label_of(cells)
    where = {"path": str(path)}
    if roles and all(len(some) == 1 for some in roles.values()):
        where = {"path": str(roles["train"][0]), "test_path": str(roles["test"][0])}
    source = {"name": "text_table", **where, "text": column, **({"label": label} if label else {})}
    number = sum(_scaled(len(_head(each).splitlines()), each) for each in (roles.get("train") or files)[:100])
    texts = [cell for cell in cells[column] if isinstance(cell, str)]
    what = f"about {count(number)} texts in {printable(first.name)}"
    return found(source, what, number, texts, said(column, label), held="test_path" in where)


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # ingest says so
        return {}
    return row if isinstance(row, dict) else {}


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES).decode("utf-8-sig", "replace")
    except OSError as error:
        raise UserError(f"{printable(str(path))}: cannot be read ({error.strerror})") from None


def _scaled(lines: int, path: Path) -> int:
    """Lines of a file, about, from those of its head."""
    return max(1, round(lines * max(1.0, path.stat().st_size / HEAD_BYTES)))
