"""Markdown that MLflow, a model card and a terminal show: tables, and text that means only itself."""

from collections.abc import Collection, Iterable, Sequence

from pipelines.storage.printable import printable


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Collection[int] = ()) -> list[str]:
    """The lines of a table.

    Args:
        head, rows: cells are Markdown; what comes from outside goes through `plain` first.
        numeric: columns that line up on the right.
    """
    rule = ["---:" if i in numeric else "---" for i in range(len(head))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def plain(text: str) -> str:
    """Text in one line that Markdown and its tables show as it is."""
    flat = printable(" ".join(text.split())).replace("\\", "\\\\")
    return flat.replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("[", "\\[").replace("*", "\\*")
