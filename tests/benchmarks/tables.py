"""The tables of docs/performance.md, from bench.json: `python -m tests.benchmarks.tables`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import record
from tests.benchmarks.runner import Row

README = Path(__file__).parents[2] / "README.md"
DOCS = README.with_name("docs")
PERFORMANCE, RESULTS = DOCS / "performance.md", DOCS / "results.md"
BEGIN, END = "<!-- bench:begin -->\n", "<!-- bench:end -->"
VERDICT = {True: "met", False: "**missed**", None: "not measured"}


def write(page: Path = PERFORMANCE, file: Path = record.FILE) -> None:
    fill(page, BEGIN, END, section(record.load(file)))


def fill(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two markers."""
    head, rest = page.read_text().split(begin)
    page.write_text(head + begin + text + end + rest.split(end)[1])


def section(entries: Mapping[str, Any]) -> str:
    """Goals of all benchmarks first, then each benchmark's tables, folded away."""
    goals = [row for entry in entries.values() for row in entry["goals"]]
    blocks = [goal_table(goals)] if goals else []
    blocks += [block(name, entry) for name, entry in entries.items()]
    return "\n\n".join(blocks) + "\n"


def goal_table(goals: Sequence[Row]) -> str:
    rows = []
    for goal in goals:
        verdict = VERDICT[goal["met"]]
        why = f": {goal['why']}" if goal["why"] else ""
        measured = "-" if goal["measured"] is None else goal["measured"]
        rows.append({"goal": goal["goal"], "wanted": goal["wanted"], "measured": measured, "": verdict + why})
    return markdown(rows)


def block(name: str, entry: Mapping[str, Any]) -> str:
    tables = "\n\n".join(f"{heading}\n\n{markdown(rows)}" for heading, rows in entry["tables"].items())
    about = " ".join(entry["about"].split())
    return (
        f"<details><summary><b>{name}</b>: {about.split(': `')[0].split('. ')[0].rstrip('.')}</summary>\n\n"
        f"{tables}\n\n{origin(entry)}\n\n</details>"
    )


def origin(entry: Mapping[str, Any]) -> str:
    """Machine, versions, commit and date of one entry, as a line."""
    machine, versions = entry["machine"], entry["versions"]
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:g} GB",
        *machine["gpus"],
        f"load {entry['load_before']:g} before",
        f"commit {entry['commit'] or 'none'}{' with changes' if entry['dirty'] else ''}",
        f"{entry['date']} UTC, {entry['seconds']} s{', quick' if entry['quick'] else ''}",
        ", ".join(f"{package} {version}" for package, version in versions.items()),
    ]
    return f"<sub>{'; '.join(parts)}</sub>"


def markdown(rows: Sequence[Row]) -> str:
    columns = list(rows[0])
    is_number = [not isinstance(rows[0][column], str) for column in columns]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join("---:" if n else "---" for n in is_number) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(cell(row[column]) for column in columns) + " |" for row in rows)])


def cell(value: Any) -> str:
    """Text as it is, numbers to three digits, a Spread as `median (quartiles)`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        median, low, high = map(cell, value)
        return f"{median} ({low}-{high})"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


if __name__ == "__main__":
    write()
