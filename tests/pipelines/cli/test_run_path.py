"""`selfray run PATH`, end to end: plain data to a registered candidate, with and without a budget."""

import re
import time

import pytest

from tests.pipelines.cli.test_cli import selfray
from tests.support.plain_data import pictures, series_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_folder_of_images_and_again_with_a_budget(tmp_path):
    pictures(tmp_path / "cats", 60)
    storage = ("--set", f"storage={tmp_path}/storage")
    done = selfray("run", str(tmp_path / "cats"), *storage, "--set", "train.epochs=4")
    assert done.returncode == 0, done.stderr
    assert "recognized: 60 images in 2 class folders (a, b) (image_folder)" in done.stdout
    assert "models:/cats@candidate (version 1" in done.stdout
    again = selfray("run", f"{tmp_path}/storage/recipes/cats.yaml")
    assert again.returncode == 0 and again.stdout.count("reused") == 4, again.stderr

    began = time.monotonic()
    timed = selfray("run", str(tmp_path / "cats"), *storage, "--budget", "5m")
    took = time.monotonic() - began
    assert timed.returncode == 0, timed.stderr
    assert "ingest: reused" in timed.stdout and "models:/cats@candidate (version 2" in timed.stdout
    steps = int(re.search(r"budget: +(\d+) steps", timed.stdout)[1])
    assert steps > 0 and took < 2 * 300
    same = selfray("run", str(tmp_path / "cats"), *storage, "--budget", "5m")
    assert same.returncode == 0 and "is reused; delete it to rehearse again" in same.stdout, same.stderr
    assert same.stdout.count(": reused") == 4


def test_an_impossible_budget_is_one_line(tmp_path):
    pictures(tmp_path / "cats", 60)
    done = selfray("run", str(tmp_path / "cats"), "--set", f"storage={tmp_path}/storage", "--budget", "30s")
    assert done.returncode == 1 and "--budget: 30s is too short" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.xfail(reason="ingest stores images only until it reads codecs", strict=False)
def test_a_folder_of_series(tmp_path):
    series_files(tmp_path / "walks", 60)
    settings = ("--set", f"storage={tmp_path}/storage", "--set", "train.epochs=4")
    done = selfray("run", str(tmp_path / "walks"), *settings)
    assert done.returncode == 0, done.stderr
    assert "recognized: 60 time series of about 40 rows, 2 channels (x0, x1) (series_csv)" in done.stdout
    assert "models:/walks@candidate (version 1" in done.stdout
