"""The table of results in docs/results.md, from logged runs: `python -m tests.benchmarks.results STORAGE ...`.

Reads every registered version in the MLflow store of each storage folder: its parent run's params, scores.json and
environment.json, and the pre-training child's points. Rows are kept in results.json beside this file, one per
(name, seed), the newest run winning; the table between the markers of docs/results.md is written from it, and in
README.md what the terminal shows of one of them.
"""

import json
import sys
from io import StringIO
from math import sqrt
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import load_dict
from rich.console import Console

from pipelines.evaluate.report import text
from tests.benchmarks import tables

ROWS = Path(__file__).with_name("results.json")
BEGIN, END = "<!-- results:begin -->\n", "<!-- results:end -->"
EXAMPLE = "digits-simclr 0"
"""The run of the demo, whose table README.md shows."""
EXAMPLE_BEGIN, EXAMPLE_END = "<!-- scores:begin -->\n", "<!-- scores:end -->"
SCORES = {"knn_top1_k200": "kNN k=200", "linear_top1": "linear", "few_label_n5_top1": "5 labels per class"}


def main(storages: list[str]) -> None:
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    for storage in storages:
        uri = f"sqlite:///{Path(storage).resolve()}/mlflow.db"
        for row in collect(uri):
            rows[f"{row['name']} {row['seed']}"] = row
    ROWS.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
    tables.fill(tables.RESULTS, BEGIN, END, table(list(rows.values())))
    tables.fill(tables.README, EXAMPLE_BEGIN, EXAMPLE_END, terminal(rows[EXAMPLE]))


def collect(uri: str) -> list[dict[str, Any]]:
    """One row per registered version, oldest first."""
    client = MlflowClient(uri)
    rows = []
    versions = [v for m in client.search_registered_models() for v in client.search_model_versions(f"name='{m.name}'")]
    for version in sorted(versions, key=lambda v: v.creation_timestamp):
        run = client.get_run(version.run_id)
        params, artifacts = run.data.params, run.info.artifact_uri
        scores = load_dict(f"{artifacts}/report/scores.json")["scores"]
        machine = load_dict(f"{artifacts}/environment.json")
        rows.append(
            {
                "name": params["name"],
                "seed": int(params["seed"]),
                "method": params["method.name"],
                "encoder": f"{params['encoder.name']} {params.get('encoder.width') or params.get('encoder.dim')}",
                "batch": int(params["train.global_batch_size"]),
                "num_train": scores["num_train"],
                "num_test": scores["num_test"],
                **pretraining(client, run.info.experiment_id, version.run_id, int(params["train.global_batch_size"])),
                "machine": f"{machine['cpu']}, {machine['cores']} cores",
                "commit": run.data.tags.get("mlflow.source.git.commit", "")[:8],
                "dirty": run.data.tags.get("git.dirty"),
                "scores": {side: scores[side] for side in ("encoder", "random_init", "raw_input")},
                "gains": scores.get("gains", {}),
            }
        )
    return rows


def pretraining(client: MlflowClient, experiment: str, run_id: str, batch: int) -> dict[str, float]:
    """Steps, epochs and minutes spent in steps, from the points of the pre-training run."""
    reused = client.get_run(run_id).data.tags.get("selfray.reused.pretrain")
    where = f"tags.`selfray.stage_folder` = '{reused}'" if reused else f"tags.`mlflow.parentRunId` = '{run_id}'"
    (child, *_) = client.search_runs([experiment], f"{where} and tags.`selfray.stage` = 'pretrain'")
    rate = client.get_metric_history(child.info.run_id, "samples_per_s")
    steps = [0, *(point.step for point in rate)]
    seconds = sum((step - before) * batch / p.value for p, step, before in zip(rate, steps[1:], steps, strict=False))
    return {
        "steps": steps[-1],
        "epochs": round(child.data.metrics["epoch"], 1),
        "train_minutes": round(seconds / 60, 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line per run, each score as `encoder (random init / raw input)`."""
    lines = [
        "| run | method | encoder | epochs | seed | test samples | "
        + " | ".join(SCORES.values())
        + " | training | beats both floors |",
        "|---|---|---|---:|---:|---:|" + "---|" * len(SCORES) + "---:|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["name"], row["seed"])):
        sides = [row["scores"][side] for side in ("encoder", "random_init", "raw_input")]
        cells = [" ".join(_cell(sides, name)) for name in SCORES]
        lost = [text for s, text in SCORES.items() if s in sides[0] and not _beats(row, s)]
        lines.append(
            f"| {row['name']} | {row['method']} | {row['encoder']} | {row['epochs']:g} | {row['seed']} | "
            f"{row['num_test']:,} | "
            + " | ".join(cells)
            + f" | {row['train_minutes']:g} min | {'yes' if not lost else 'not beyond noise on ' + ', '.join(lost)} |"
        )
    machines = sorted({row["machine"] for row in rows})
    noise = (
        "Beats: the 95 % interval of the gain over the better floor lies above 0 (runs recorded before intervals were: "
        "the gain exceeds two standard errors on this many test samples)."
    )
    return "\n".join([*lines, "", f"{noise} Machine: {'; '.join(machines)}, shared with other work while it ran.", ""])


def terminal(row: dict[str, Any]) -> str:
    """The table that `selfray run digits` prints of these scores on a terminal of 80 columns, as a block of Markdown.

    Without the verdict below it, which says what beats the floors by intervals: older runs have none.
    """
    printed = text.rich_table(text.Scores(**row["scores"], gains=row.get("gains", {})))
    printed.caption = None
    console = Console(width=80, file=StringIO())
    with console.capture() as shown:
        console.print(printed)
    lines = "\n".join(line.rstrip() for line in shown.get().splitlines()).strip("\n")
    return f"```\n{lines}\n```\n"


def _beats(row: dict[str, Any], name: str) -> bool:
    """By the interval of the gain; without one, by two standard errors of the difference of two accuracies."""
    if name in row.get("gains", {}):
        return row["gains"][name][0] > 0
    score, *floors = (row["scores"][side][name] for side in ("encoder", "random_init", "raw_input"))
    error = sqrt((score * (1 - score) + max(floors) * (1 - max(floors))) / row["num_test"])
    return score - max(floors) > 2 * error


def _cell(sides: list[dict[str, float]], name: str) -> tuple[str, str]:
    if name not in sides[0]:
        return "-", ""
    return f"**{sides[0][name]:.3f}**", f"({sides[1][name]:.3f} / {sides[2][name]:.3f})"


if __name__ == "__main__":
    main(sys.argv[1:])
