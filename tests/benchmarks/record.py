"""bench.json: the newest outcome of each benchmark, with where and on what it was measured."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.tracking import provenance
from tests.benchmarks.runner import Outcome

FILE = Path(__file__).with_name("bench.json")
PACKAGES = (
    *("torch", "torchvision", "numpy", "opencv-python-headless", "pillow", "pyarrow", "ray"),
    *("albumentations", "kornia", "simplejpeg", "lightly"),
)


def measured(about: str, run: Callable[[bool], Outcome], quick: bool) -> dict[str, Any]:
    """Run a benchmark and say everything about it that a reader of the numbers must know."""
    where, commit = provenance.environment(), provenance.commit()
    load, began = os.getloadavg()[0], time.time()
    outcome = run(quick)
    packages = where["packages"]
    assert isinstance(packages, dict)
    installed = {name.lower(): version for name, version in packages.items()}
    return {
        "about": about,
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime(began)),
        "commit": commit.commit[:8],
        "dirty": commit.dirty,
        "machine": {key: where[key] for key in ("cpu", "cores", "memory_gb", "gpus", "platform")},
        "load_before": round(load, 1),
        "versions": {"python": where["python"], **{n: installed[n] for n in PACKAGES if n in installed}},
        "seconds": round(time.time() - began),
        "quick": quick,
        "tables": outcome.tables,
        "goals": outcome.goals,
    }


def load(path: Path = FILE) -> dict[str, Any]:
    """Benchmark name -> its newest entry."""
    entries: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return entries


def keep(name: str, entry: dict[str, Any], path: Path = FILE) -> None:
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(load(path) | {name: entry}, indent=1) + "\n")
    aside.replace(path)
