"""Storage that fails for a while is waited for, whoever reads or writes there; one that stays away ends the run."""

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.config.parse import parse
from pipelines.data.batches.row_groups import Group, RowGroups
from pipelines.data.shards.schema import samples as sample_schema
from pipelines.errors import UserError
from pipelines.storage import checkpoint, outbox, parquet, retry
from pipelines.tracking import display, shipping
from pipelines.tracking.shipping import Shipper, Unreachable
from pipelines.train.worker import Worker
from ssl_core.build import build_method
from ssl_core.optimize.optimizers import build_optimizer
from tests.pipelines.train.test_kills import SHORT, assert_equal, recipe, undisturbed
from tests.support.kill_runs import KilledRun
from tests.support.loop import order_of, run
from tests.support.recipe import TREE

GONE = OSError(errno.EIO, os.strerror(errno.EIO))


def failing(act: Callable[..., object], times: int, where: str = "") -> Callable[..., object]:
    """`act`, whose first calls for a path that holds `where` fail as a sick disk does."""
    left = [GONE] * times

    def acting(path: Path, *arguments: object, **options: object) -> object:
        if left and where in str(path):
            raise left.pop()
        return act(path, *arguments, **options)

    return acting


def restored(folder: Path) -> int:
    config = parse(TREE)
    method = build_method(config.method, config.encoder, config.views, seed=5)
    optimizer = build_optimizer(config.optim, method, 0.1)
    return Worker(0, 1, torch.device("cpu"), folder).restore(method, optimizer, order_of(config))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A stage with checkpoints of steps 10 and 12."""
    run(tmp_path, {"train.checkpoint_seconds": 1e-9})
    return tmp_path


def test_a_checkpoint_that_cannot_be_read_for_a_moment_is_not_passed_over(trained, monkeypatch):
    """The next write would drop it, as one of a lost future."""
    monkeypatch.setattr(checkpoint, "sha256_of", failing(checkpoint.sha256_of, 2))
    assert restored(trained) == 12
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == ["step_00000010", "step_00000012"]
    notes = (trained / outbox.NOTES).read_text()
    assert notes.count("storage: [Errno 5] Input/output error; trying again") == 1 and "going back" not in notes


def test_one_that_stays_unreadable_ends_the_run_with_the_last_good_one_named(trained, monkeypatch):
    monkeypatch.setattr(retry, "PATIENCE_S", 0.5)
    monkeypatch.setattr(checkpoint, "sha256_of", failing(checkpoint.sha256_of, 99, "step_00000012"))
    words = r"cannot be read \(Input/output error\); last good checkpoint: .*step_00000010 \(newer ones cannot be read"
    with pytest.raises(UserError, match=words):
        restored(trained)
    with pytest.raises(OSError, match="Input/output"):
        checkpoint.latest(trained / "checkpoints")
    assert checkpoint.last_good(trained / "none") == "no checkpoint was written yet"


@pytest.fixture
def group(tmp_path: Path) -> Group:
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table([np.arange(3), [b"x"] * 3, ["a"] * 3], schema=sample_schema("image")), path)
    return Group(str(path), 0)


def test_a_shard_that_cannot_be_read_for_a_moment_is_read_again(group, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "opened", failing(parquet.opened, 2))
    with RowGroups(tmp_path, slow_seconds=30) as files:
        assert files.read(group, ["sample_id", "image"])["sample_id"].to_pylist() == [0, 1, 2]
    assert (tmp_path / outbox.NOTES).read_text().count("storage: ") == 1


def test_a_shard_on_storage_that_stays_away_does_not_ask_for_another_ingest(group, tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "PATIENCE_S", 0.5)
    monkeypatch.setattr(parquet, "opened", failing(parquet.opened, 99))
    with RowGroups(tmp_path, slow_seconds=30) as files, pytest.raises(UserError, match="Input/output") as error:
        files.read(group, ["sample_id", "image"])
    assert "run the same command again" in str(error.value) and "ingest" not in str(error.value)


def test_a_shard_that_is_gone_or_damaged_is_said_at_once(group, tmp_path):
    began = time.monotonic()
    with RowGroups(tmp_path, slow_seconds=30) as files:
        for act in (lambda path: path.write_bytes(path.read_bytes()[:-40]), Path.unlink):
            act(Path(group.path))
            with pytest.raises(UserError, match="ingest again"):
                files.read(group, ["sample_id", "image"])
            (tmp_path / "manifest.json").touch()  # then it is in the folder of an ingest, which is made again only
            with pytest.raises(UserError, match=f"; delete {tmp_path} and run again"):  # where it is not there
                files.read(group, ["sample_id", "image"])
            (tmp_path / "manifest.json").unlink()
    assert time.monotonic() - began < 10


def test_what_only_shows_and_ships_outlives_it(tmp_path, monkeypatch):
    told: list[int] = []

    def act() -> None:
        told.append(1)
        if len(told) == 1:
            raise GONE

    with display.repeating(0.01, act):
        deadline = time.monotonic() + 20
        while len(told) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(told) >= 3, "the thread goes on"
    outbox.append(tmp_path, step=1, total=1, metrics={"loss": 1.0}, final=True)
    sent: list[outbox.Point] = []
    shipper = Shipper(tmp_path, lambda: "r1", lambda run_id, points: sent.extend(points))
    monkeypatch.setattr(outbox, "committed", failing(outbox.committed, 1))
    with pytest.raises(Unreachable, match="Input/output error"):
        shipper.close(0)
    assert shipper.close(0) == "r1" and len(sent) == 1 and shipping.state(tmp_path)
    with display.watch("pretrain", tmp_path):
        monkeypatch.setattr(outbox, "tail", failing(outbox.tail, 10**6))


class Boxed(KilledRun):
    """Its storage is a small tmpfs that nobody else sees; what it held is in its place when the command has ended."""

    def start(self, prefix: Sequence[str] = ()) -> None:
        self._copy = self.storage.with_name("copy")
        self.storage.mkdir()
        script = f'mount -t tmpfs -o size=64m none {self.storage} && "$0" "$@"; status=$?; '
        script += f"cp -r {self.storage} {self._copy}; exit $status"
        super().start(("unshare", "--mount", "sh", "-c", script, *prefix))

    def wait(self, seconds: float) -> int:
        status = super().wait(seconds)
        shutil.copytree(self._copy, self.storage, dirs_exist_ok=True)
        return status

    def folder(self) -> Path | None:
        inside = self.inside() if self.running else self.storage
        return next(iter((inside / "pretrain").glob("*")), None)

    def inside(self) -> Path:
        assert self._driver is not None
        return Path(f"/proc/{self._driver.pid}/root{self.storage}")

    def fill(self, seconds: float) -> None:
        """Leave no free page for so long, then free them; what is given up meanwhile is taken at once."""
        filler, over = self.inside() / "filler", time.monotonic() + seconds
        with filler.open("ab", buffering=0) as file:
            while time.monotonic() < over and self.running:
                try:
                    file.write(bytes(1 << 16))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    time.sleep(0.02)
        if self.running:
            filler.unlink()


@pytest.fixture
def boxed(tmp_path: Path) -> Callable[..., Boxed]:
    tried = ("unshare", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path))
    if not shutil.which("unshare") or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    return lambda name, train: Boxed(tmp_path / name, recipe(train))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_storage_that_is_full_for_half_a_minute_changes_nothing(boxed, tmp_path, ray_session):
    whole = undisturbed(tmp_path / "whole", SHORT)
    box = boxed("full", SHORT)
    try:
        box.start()
        assert box.until(lambda: box.step() >= 50, 300), box.printed()
        box.fill(30)
        assert box.running and box.step() < SHORT["steps"] * 0.9, "it stood still meanwhile"
        assert box.wait(300) == 0, box.printed()
        assert "storage: [Errno 28] No space left on device" in box.printed()
        assert_equal(box, whole)
    finally:
        box.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_storage_that_stays_full_ends_the_run_with_the_last_good_checkpoint_named(boxed):
    box = boxed("stays", {**SHORT, "max_failures": 0})
    try:
        box.start()
        assert box.until(lambda: box.step() >= 50, 300), box.printed()
        box.fill(retry.PATIENCE_S + 120)
        assert box.wait(60) == 1, box.printed()
        folder = box.folder()
        assert folder is not None
        good, _ = checkpoint.latest(folder / "checkpoints")
        assert good is not None and 0 < checkpoint.state_of(good)["step"] < SHORT["steps"]
        (said,) = (line for line in box.printed().splitlines() if line.startswith("selfray: "))
        assert "cannot write " in said and "No space left on device" in said
        assert f"last good checkpoint: {good}" in said, said
    finally:
        box.close()
