"""Two processes at one folder: the second waits, says once for whom, and gives up in the end."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.config.parse import parse
from pipelines.errors import UserError
from pipelines.stage import Nothing, Stage
from pipelines.storage import lock
from tests.support.recipe import TREE

HOLD = "import sys,time; from pathlib import Path; from pipelines.storage import lock\n"
HOLD += "with lock.alone(Path(sys.argv[1])):\n"
HOLD += "    print('held', flush=True); time.sleep(float(sys.argv[2]))"


def held(path: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process, once it holds the lock."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    return other


def test_it_waits_for_the_other_process_and_says_once_which(tmp_path):
    other, said = held(tmp_path / ".lock", 1.5), list[str]()
    with lock.alone(tmp_path / ".lock", 60, said.append):
        assert other.wait(10) == 0
    (line,) = said
    assert line.startswith(f"{tmp_path}: another process (process {other.pid} on ") and "1 min at most" in line


def test_it_gives_up_and_a_killed_holder_holds_nothing(tmp_path):
    other = held(tmp_path / ".lock", 60)
    with (
        pytest.raises(UserError, match=rf"process {other.pid} on .* is at work there; wait for it"),
        lock.alone(tmp_path / ".lock", 0.3),
    ):
        pass
    other.kill()
    other.wait(10)
    with lock.alone(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text().startswith("process ")


def test_a_stage_waits_and_then_reuses_what_the_other_made(tmp_path, capsys):
    config, made = parse({**TREE, "storage": str(tmp_path)}), []

    def run(config, given, folder):
        made.append(folder)
        return Nothing()

    stage = Stage("ingest", 1, reads=("name",), makes=Nothing, run=run)
    stage(config, Nothing(), tmp_path)
    other, began = held(made[0] / ".lock", 2), time.monotonic()
    stage(config, Nothing(), tmp_path)
    other.wait(10)
    assert len(made) == 1 and time.monotonic() - began > 1
    assert capsys.readouterr().out.count("waiting for it") == 1
