"""The league's table and picture in docs/results.md, from league.json: `python -m tests.benchmarks.league_page`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ssl_core.config import NamedConfig
from tests.benchmarks import tables
from tests.benchmarks.runner import Row

BEGIN, END = "<!-- league:begin -->\n", "<!-- league:end -->"
PICTURE = tables.DOCS / "league.svg"
HEADING = "Methods on CIFAR-10 (30,000 images), {minutes:g} minutes of training each"
GOALS = {  # kNN and linear top-1
    "simclr": (0.51, 0.56),
    "byol": (0.47, 0.54),
    "simsiam": (0.44, 0.51),
    "barlow_twins": (0.47, 0.54),
    "vicreg": (0.47, 0.54),
    "swav": (0.48, 0.54),
    "dino": (0.42, 0.50),
    "ibot": (0.42, 0.50),
    "dinov2": (0.42, 0.50),
    "i_jepa": (0.36, 0.48),
    "data2vec": (0.36, 0.48),
    "metric_learning": (0.46, 0.53),
    "rotation": (0.40, 0.52),
    "jigsaw": (0.36, 0.46),
    "relative_position": (0.36, 0.46),
    "context_encoder": (0.38, 0.48),
    "attribute_prediction": (0.36, 0.46),
    "vae": (0.34, 0.45),
    "cpc": (0.38, 0.48),
    "gan": (0.38, 0.52),
    "bigan": (0.36, 0.45),
}
"""Set before anything was run."""
FLOORS = {"random_init": "random init", "raw_input": "raw input"}
NAMES = {
    "knn_top1_k200": "kNN k=200",
    "linear_top1": "linear",
    "few_label_n5_top1": "5 labels per class",
    "retrieval_map": "retrieval mAP",
}


def sized(encoder: NamedConfig, layers: Sequence[int]) -> str:
    """Name and width of an encoder, and the layers that are scored, where that is not the last one."""
    width = getattr(encoder, "width", None) or getattr(encoder, "dim", None)
    name = f"{encoder.name} {width}" if width else encoder.name
    return name + (f", layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}" if layers else "")


def table(rows: Iterable[dict[str, Any]]) -> list[Row]:
    """One line per method and seed, best kNN first; below them the floors of each encoder."""
    found, floors = list[Row](), dict[str, Row]()
    for row in sorted(rows, key=lambda row: -row["scores"].get("knn_top1_k200", 0.0)):
        costs = {"steps": "steps", "epochs": "epochs", "samples/s": "samples_per_s", "MB": "worker_mb"}
        common = {name: row[key] for name, key in costs.items()}
        found.append(
            {
                "method": row["method"],
                "seed": str(row["seed"]),
                "encoder": row["encoder"],
                **{text: _cell(row, name) for name, text in NAMES.items()},
                "RankMe": _number(row["rankme"]),
                "robustness": _number(row["robustness"]),
                **{name: f"{value:,}" for name, value in common.items()},
                "beats both floors": _beats(row),
            }
        )
        for side, text in FLOORS.items():
            key = text if side == "raw_input" else f"{text}, {row['encoder']}"
            blank = dict.fromkeys(("RankMe", "robustness", *common, "beats both floors"), "-")
            scores = {shown: _number(row[side].get(name)) for name, shown in NAMES.items()}
            floors.setdefault(key, {"method": key, "seed": "-", "encoder": "-", **scores, **blank})
    return found + list(floors.values())


def write(rows: Iterable[dict[str, Any]]) -> None:
    """Fill docs/results.md and draw the picture."""
    kept = list(rows)
    minutes = sorted({row["minutes"] for row in kept})
    parts = [
        f"{HEADING.format(minutes=each)}\n\n" + tables.markdown(table(row for row in kept if row["minutes"] == each))
        for each in minutes
    ]
    tables.fill(tables.RESULTS, BEGIN, END, "\n\n".join(parts) + "\n")
    draw(kept, PICTURE)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """kNN against samples seen per second: what a method makes of its budget, and how dear a sample is to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    for encoder in sorted({row["encoder"] for row in rows}):
        mine = [row for row in rows if row["encoder"] == encoder]
        x, y = [row["samples_per_s"] for row in mine], [row["scores"].get("knn_top1_k200") for row in mine]
        axes.scatter(x, y, label=encoder)
        for row, across, up in zip(mine, x, y, strict=True):
            axes.annotate(row["method"], (across, up), fontsize=7, xytext=(3, 3), textcoords="offset points")
    axes.set(xlabel="samples/s", ylabel="kNN top-1, k=200", xscale="log")
    axes.legend()
    figure.savefig(path, bbox_inches="tight")


def _cell(row: dict[str, Any], name: str) -> str:
    if name not in row["scores"]:
        return "-"
    interval = row["intervals"].get(name)
    return f"{row['scores'][name]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _beats(row: dict[str, Any]) -> str:
    """By the interval of the gain over the better floor, paired on the test samples."""
    lost = [text for name, text in NAMES.items() if name in row["gains"] and row["gains"][name][0] <= 0]
    return f"not on {', '.join(lost)}" if lost else "yes"


if __name__ == "__main__":
    write(json.loads(Path(__file__).with_name("league.json").read_text()).values())
