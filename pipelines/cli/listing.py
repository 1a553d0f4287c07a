"""`selfray list`: every component and recipe with its first line, read without importing them."""

from rich.table import Table

from pipelines.config import recipe_file
from pipelines.tracking.display import console
from ssl_core.catalog import names, summary

PACKAGES = {
    "methods": "ssl_core.methods",
    "encoders": "ssl_core.encoders",
    "augmentations": "ssl_core.augment",
    "probes": "ssl_core.evaluate",
    "tasks of an evaluation": "pipelines.evaluate.tasks",
    "sources": "pipelines.data.sources",
}


def show() -> None:
    for title, package in PACKAGES.items():
        _print(title, {name: summary(package, name) for name in names(package)})
    recipes = recipe_file.shipped().items()
    _print("recipes", {name: path.read_text("utf-8").split("\n", 1)[0].lstrip("# ") for name, path in recipes})


def _print(title: str, rows: dict[str, str]) -> None:
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    for name, line in rows.items():
        table.add_row(f"[bold]{name}[/bold]", line)
    console.print(table)
