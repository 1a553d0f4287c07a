"""Seconds from the command to the end of the first training step: `python -m tests.benchmarks startup`.

`selfray pretrain RECIPE` with its shards ready, against a bare TorchTrainer over a bare Ray Data set
(tests/benchmarks/bare_trainer.py) on the same shards, model and Ray settings, in turn, each in fresh processes. Times
are what each leaves behind: ours a lock file and the first logged point, the bare one marks, both Ray Train's folder.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

import pipelines.runtime  # noqa: F401  makes the settings of Ray, which both commands inherit
from pipelines.storage import outbox
from tests.benchmarks.bare_trainer import BATCH, SIZE, WIDTH
from tests.benchmarks.corpus import image_files, simclr
from tests.benchmarks.runner import Outcome, Row, goal, spread

ROUNDS = 2
PARTS = ("imports and config", "Ray, up to Ray Train", "Ray Train's worker, with model", "first batch", "first step")
Times = dict[str, float]


def run(quick: bool = False) -> Outcome:
    with TemporaryDirectory(prefix="sr-", dir="/tmp") as name:  # short: Ray puts sockets below it
        folder = Path(name)
        image_files(folder / "files", 512, SIZE, SIZE)
        config = simclr(folder / "files", folder / "runs", SIZE, BATCH, {"train.steps": 2, "encoder.width": WIDTH})
        recipe = folder / "bench.yaml"
        recipe.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        command(folder, "-m", "pipelines", "ingest", str(recipe))
        ours: list[Times] = []
        bare: list[Times] = []
        for number in range(1 if quick else ROUNDS + 1):
            ours.append(first_step(folder, "pretrain", str(recipe), "--set", f"seed={number}")[0])
            bare.append(_bare(folder, number))
    measured = slice(0 if quick else 1, None)  # the first round brings the files into memory
    ours, bare = ours[measured], bare[measured]
    rows: list[Row] = [
        {
            "part": part,
            "selfray, s": spread([t[part] for t in ours]),
            "bare trainer, s": spread([t[part] for t in bare]),
        }
        for part in PARTS
    ]
    totals = [(sum(mine.values()), sum(other.values())) for mine, other in zip(ours, bare, strict=True)]
    rows.append(
        {
            "part": "sum",
            "selfray, s": spread([mine for mine, _ in totals]),
            "bare trainer, s": spread([other for _, other in totals]),
        }
    )
    ratio = spread([mine / other for mine, other in totals])
    return Outcome(
        {"Seconds of each part, one after the other": rows},
        [goal("startup: time to the first step over a bare TorchTrainer's", ratio, at_most=1.5)],
    )


def first_step(folder: Path, *arguments: str) -> tuple[Times, Path]:
    """Run a `selfray` command that pre-trains into `folder`/runs, with a seed of its own, so that it trains anew.

    Returns: seconds until the end of the first step, by parts, and the folder of the stage.
    """
    before = set(_stages(folder))
    begin = time.time()
    command(folder, "-m", "pipelines", *arguments)
    (stage,) = set(_stages(folder)) - before
    first = next(outbox.read(stage))
    step = BATCH / first.metrics["samples_per_s"]
    waited = first.metrics["data_wait"] * step
    end = first.time / 1000
    marks = [begin, _made(stage / ".lock"), _made(stage / "ray"), end - step, end - step + waited, end]
    return _parts(marks), stage


def _bare(folder: Path, number: int) -> Times:
    scratch = folder / f"bare{number}"
    scratch.mkdir()
    (shards,) = (folder / "runs" / "ingest").glob("*/train")
    begin = time.time()
    command(folder, "-m", "tests.benchmarks.bare_trainer", str(shards), str(scratch))
    at = {name: float(t) for name, t in (line.split("\t") for line in (scratch / "marks").read_text().splitlines())}
    return _parts([begin, at["imports"], _made(scratch / "ray"), at["worker"], at["first batch"], at["first step"]])


def _parts(marks: list[float]) -> Times:
    return {part: end - begin for part, begin, end in zip(PARTS, marks[:-1], marks[1:], strict=True)}


def _stages(folder: Path) -> list[Path]:
    return list((folder / "runs" / "pretrain").glob("*"))


def _made(path: Path) -> float:
    """When a file that stays empty was made, or the one entry of a folder."""
    return path.stat().st_ctime


def command(folder: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "RAY_TMPDIR": str(folder), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
