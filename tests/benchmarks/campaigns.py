"""The table of tuning campaigns in docs/results.md: `python -m tests.benchmarks.campaigns STORAGE [STORAGE ...]`.

Reads the report.json of every finished campaign under each storage folder. Rows are kept in campaigns.json beside this
file, one per name, the newest report winning; the table between the markers of docs/results.md is written from it.
"""

import json
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tests.benchmarks import tables

ROWS = Path(__file__).with_name("campaigns.json")
BEGIN, END = "<!-- campaigns:begin -->\n", "<!-- campaigns:end -->"
JUDGE = "knn_top1"
"""What RankMe is held against where the campaign's own metric needs no labels."""


def main(storages: list[str], page: Path = tables.RESULTS, kept: Path = ROWS) -> None:
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    for storage in storages:
        rows |= {row["name"]: row for row in collect(Path(storage))}
    kept.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
    tables.fill(page, BEGIN, END, table(list(rows.values())))


def collect(storage: Path) -> list[dict[str, Any]]:
    """One row per finished campaign, oldest first."""
    reports = sorted(storage.glob("tune/*/report/report.json"), key=lambda path: path.stat().st_mtime)
    return [row(json.loads(path.read_text())) for path in reports]


def row(found: dict[str, Any]) -> dict[str, Any]:
    metric, confirmed = found["metric"], {c["trial"]: c for c in found["confirmed"]}
    winner = None if found["winner"] == found.get("itself") else found["winner"]  # None: the recipe's own config won
    search = [trial for trial in found["trials"] if trial["kind"] == "search"]
    against = metric if metric in ("knn_top1", "linear_top1") else JUDGE
    ranks = [a for a in found["agreements"] if (a["metric"], a["against"]) == ("rankme", against)]
    said = {key: ranks[0].get(key) if ranks else None for key in ("spearman", "num_trials", "share")}
    return {
        "name": found["name"],
        "metric": metric,
        "searched": list(found["space"]),
        "trials": len(search),
        "in_full": sum(trial["state"] == "done" for trial in search),
        "best": confirmed[winner]["values"] if winner in confirmed else [],
        "default": confirmed[None]["values"] if None in confirmed else [],
        "floors": {side: values.get(metric) for side, values in found["floors"].items()},
        "seconds": found["cost"]["spent"],
        "seconds_in_full": found["cost"]["in_full"],
        "rankme": {"against": against, **said},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line per campaign."""
    if not rows:
        return "No campaign is recorded yet.\n"
    lines = [
        {
            "campaign": f"{row['name']}: {' x '.join(key.rpartition('.')[2] for key in row['searched'])}",
            "metric": row["metric"],
            "trials (in full)": f"{row['trials']} ({row['in_full']})",
            "best": _over_seeds(row["best"]),
            "recipe's own": _over_seeds(row["default"]),
            "floors: random init / raw input": " / ".join(
                _score(row["floors"].get(side)) for side in ("random_init", "raw_input")
            ),
            "trial-seconds": row["seconds"],
            "all in full, estimated": _in_full(row),
            "ratio": row["seconds_in_full"] / row["seconds"],
            "RankMe, Spearman": _rank(row["rankme"]),
        }
        for row in sorted(rows, key=lambda row: row["name"])
    ]
    note = (
        "Best and the recipe's own: mean +- standard deviation over fresh seeds. Trial-seconds: of the search, with "
        "early stopping; all in full: what the same trials to their ends are estimated to take, each at its own speed. "
        "RankMe: against that score, over so many trials, at that share of a training. "
        "(*) by a former estimate, which multiplied what comes before the first step too: a tenth too high, or so."
    )
    return f"{tables.markdown(lines)}\n\n{note}\n"


def _over_seeds(values: list[float]) -> str:
    if len(values) < 2:
        return _score(values[0] if values else None)
    return f"{fmean(values):.3f} +- {stdev(values):.3f} ({len(values)} seeds)"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _in_full(row: dict[str, Any]) -> str:
    return f"{row['seconds_in_full']:,.0f}{'' if 'num_trials' in row['rankme'] else ' (*)'}"


def _rank(rankme: dict[str, Any]) -> str:
    """Rows recorded before the number of trials was kept are shown without it."""
    if rankme["spearman"] is None:
        return "-"
    over = "" if rankme.get("num_trials") is None else f", {rankme['num_trials']} trials"
    at = "" if rankme.get("share") is None else f" at {rankme['share']:.0%}"
    return f"{rankme['spearman']:+.2f} ({rankme['against']}{over}{at})"


if __name__ == "__main__":
    main(sys.argv[1:])
