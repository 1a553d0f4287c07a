"""Trials on a real Ray Tune: real pre-training, real kills."""

import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.config.tune import METRICS
from pipelines.data import ingest
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import Interrupted, UserError
from pipelines.stage import Nothing
from pipelines.storage import checkpoint, outbox
from pipelines.train import pretrain
from pipelines.tuning import space
from pipelines.tuning.campaign import Campaign
from pipelines.tuning.plan import Plan
from pipelines.tuning.records import Trial
from pipelines.tuning.search import suggest
from pipelines.tuning.trials.ray_tune import max_concurrent, run_trials
from pipelines.tuning.trials.trial import floors, objective, threads_here
from pipelines.tuning.tune import work_of
from ssl_core.build import build_method
from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(1200)
TEMPERATURES = {"method.temperature": {"choice": [0.1, 0.2, 0.5, 1.0]}}
TUNE = {"space": TEMPERATURES, "searcher": "grid", "looks": 6, "grace": 0.2, "samples": 512, "view_samples": 64}


@dataclass
class Made:
    campaign: Campaign
    config: RunConfig
    root: Path
    shards: ShardSet

    def run(self, at_a_time: int = 2) -> list[Trial]:
        run_trials(self.campaign, self.campaign.next_search, self.config, at_a_time)
        return self.campaign.trials


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory) -> ShardSet:
    return ingest.run(parse(TREE), Nothing(), tmp_path_factory.mktemp("shards"))


@pytest.fixture
def make(shards, tmp_path):
    def build(tune: dict[str, Any], **train: Any) -> Made:
        config = parse(TREE, {"train": {**TREE["train"], "steps": 60, **train}, "tune": {**TUNE, **tune}})
        plan = Plan(recipe=space.tree(config), tune=space.section(config), shards=shards)
        folder = tmp_path / "tune"
        folder.mkdir(exist_ok=True)
        plan.keep(folder)
        return Made(Campaign(plan, folder, config.seed, work_of(shards, tmp_path)), config, tmp_path, shards)

    return build


def trial_processes(work: Path) -> list[psutil.Process]:
    """The process of this session's own Ray that holds the lock of a trial's folder."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(file.path == str(work / ".lock") for file in process.open_files()):
                found.append(process)
        except psutil.NoSuchProcess:  # it ended while we looked
            continue
    return found


def test_a_campaign_trains_stops_early_and_marks_what_fails(make, shards, tmp_path):
    made = make({"space": {**TEMPERATURES, "optim.lr": {"choice": [0.01, 1e30]}}, "reduction": 2}, threads=1)
    trials = made.run()
    states = {trial.state for trial in trials}
    assert len(trials) == 8 and {"done", "stopped", "failed"} <= states <= {"done", "stopped", "failed", "collapsed"}
    for trial in trials:
        if trial.changes["optim.lr"] > 1:
            assert trial.state in ("failed", "collapsed")
        if trial.state == "failed":
            assert "the loss is not finite at step" in trial.reason
            continue
        assert checkpoint.latest_step(trial.work / "checkpoints") == trial.step, "it stops at a checkpoint"
        assert [look.step for look in trial.looks] == list(range(10, trial.step + 1, 10))
        seen = trial.looks[-1].values
        assert 0 < seen["knn_top1"] <= 1 and 0 < seen["linear_top1"] <= 1 and seen["rankme"] > 1 and seen["lidar"] >= 1
        assert seen["loss"] > 0 and trial.seconds > 0
    best = made.campaign.ranked()[0]
    as_a_run = pretrain.run(made.campaign.plan.config(best.changes), shards, tmp_path / "as-a-run")
    path, _ = checkpoint.latest(best.work / "checkpoints")
    assert path and checkpoint.digest(path) == as_a_run.digest, "a trial is the training that `run` does"
    again = make({"space": {**TEMPERATURES, "optim.lr": {"choice": [0.01, 1e30]}}, "reduction": 2}, threads=1)
    began = time.monotonic()
    assert again.run() == trials and time.monotonic() - began < 30, "finished trials are not run again"


def test_a_trial_that_raises_fails_alone_and_runs_again_once_its_cause_is_gone(make):
    made = make({"num_trials": 2, "scheduler": "none"})
    (made.campaign.folder / "ray-left-by-a-killed-driver").mkdir()
    first = suggest(made.campaign.plan.tune, made.config.seed, [], made.campaign.identity)
    work, _ = work_of(made.shards, made.root)(made.campaign.plan.config(first))
    (work / outbox.NAME).mkdir(parents=True)
    failed, done = made.run()
    assert (failed.state, done.state) == ("failed", "done")
    assert failed.reason.startswith("IsADirectoryError: [Errno 21]") and outbox.NAME in failed.reason
    (work / outbox.NAME).rmdir()
    again = make({"num_trials": 2, "scheduler": "none"}).run()
    assert [trial.state for trial in again] == ["done", "done"] and again[1] == done
    assert not list(made.campaign.folder.glob("ray-*")), "nothing that Tune keeps is left"


def test_a_trial_that_collapses_is_stopped_at_its_first_look(make):
    (trial,) = make({"num_trials": 1, "scheduler": "none", "min_rankme": 1000.0}).run(1)
    assert trial.state == "collapsed" and [look.step for look in trial.looks] == [10] and trial.total == 60
    assert re.fullmatch(r"rankme \d+\.?\d* at step 10 is under tune\.min_rankme 1000", trial.reason), trial.reason
    assert checkpoint.latest_step(trial.work / "checkpoints") == 10 and not trial.curable
    seen = trial.looks[0].values
    assert seen["look_seconds"] < trial.seconds, "the look, with what it reads, is a part of what the trial takes"


@pytest.mark.slow
def test_a_full_storage_fails_the_trial_and_the_next_process_goes_on(make):
    large = {"method.hidden_dim": {"choice": [4096, 8192]}}  # the checkpoint alone is over the limit, no log is
    tune = {"scheduler": "none", "num_trials": 1, "space": large}
    made = make(tune, steps=900, log_every=50)
    full: list[int] = []

    def fill() -> None:
        while not full:
            for trial in made.campaign.trials:
                if trial.step >= 150 and (found := trial_processes(trial.work)):
                    found[0].rlimit(psutil.RLIMIT_FSIZE, (100_000, psutil.RLIM_INFINITY))  # as a full disk
                    full.append(trial.step)
            time.sleep(0.02)

    threading.Thread(target=fill, daemon=True).start()
    (trial,) = made.run(1)
    assert full and trial.state == "failed" and 150 <= trial.step < 900
    assert "cannot write the checkpoint of step" in trial.reason and "last good checkpoint: " in trial.reason
    assert "free space" in trial.reason and not list((trial.work / "checkpoints").glob(".*"))
    (ended,) = make(tune, steps=900, log_every=50).run(1)
    assert ended.state == "done" and ended.looks[: len(trial.looks)] == trial.looks


@pytest.mark.slow
def test_records_that_cannot_be_written_end_the_campaign_and_nothing_is_lost(make):
    made = make({"scheduler": "none", "num_trials": 2}, steps=900)
    there, aside = made.campaign.folder / "trials", made.campaign.folder / "aside"

    def lose() -> None:
        while not any(trial.step >= 150 for trial in made.campaign.trials):
            time.sleep(0.05)
        there.rename(aside)
        there.touch()  # no record can be written, nor read

    threading.Thread(target=lose, daemon=True).start()
    with pytest.raises(UserError, match=r"cannot write the record of trial .*then run the same command again"):
        made.run()
    there.unlink()
    aside.rename(there)
    left = make({"scheduler": "none", "num_trials": 2}, steps=900)
    before = left.campaign.trials
    ended = left.run()
    assert [trial.state for trial in ended] == ["done", "done"]
    assert [t.looks[: len(b.looks)] for t, b in zip(ended, before, strict=True)] == [b.looks for b in before]


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_goes_on_from_its_checkpoint(make):
    made = make({"scheduler": "none", "num_trials": 1}, steps=1200, checkpoint_seconds=0.5)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            for trial in made.campaign.trials:
                if trial.step >= 100 and (found := trial_processes(trial.work)):
                    os.kill(found[0].pid, signal.SIGKILL)
                    killed.append(trial.step)
            time.sleep(0.02)

    threading.Thread(target=kill, daemon=True).start()
    (trial,) = made.run(1)
    assert killed and killed[0] < 1200
    assert trial.state == "done" and [look.step for look in trial.looks] == list(range(200, 1201, 200))
    steps = [point.step for point in outbox.read(trial.work)]
    assert steps == sorted(set(steps)) and steps[-1] == 1200


@pytest.mark.slow
def test_ctrl_c_saves_and_the_next_process_goes_on(make):
    made = make({"scheduler": "none", "num_trials": 2}, steps=900)

    def stop() -> None:
        while not any(trial.step >= 150 for trial in made.campaign.trials):
            time.sleep(0.05)
        made.campaign.stop()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted, match="every trial that was running has saved a checkpoint"):
        made.run()
    left = made.campaign.trials
    assert all(trial.state == "running" for trial in left) and all(0 < t.step < 900 for t in left if t.looks)
    assert all(checkpoint.latest_step(trial.work / "checkpoints") >= trial.step for trial in left)
    again = make({"scheduler": "none", "num_trials": 2}, steps=900)
    ended = again.run()
    assert [trial.state for trial in ended] == ["done", "done"]
    assert [t.looks[: len(b.looks)] for t, b in zip(ended, left, strict=True)] == [b.looks for b in left]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_workers_per_trial_train_on_ray_train(make, parallel):
    made = make({"num_trials": 3, "reduction": 2}, num_workers=2, parallel=parallel)
    trials = made.run(1)
    assert {trial.state for trial in trials} <= {"done", "stopped"} and trials[0].state == "done"
    assert [look.step for look in trials[0].looks] == [10, 20, 30, 40, 50, 60]
    import ray

    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < 4 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert ray.available_resources()["CPU"] == 4, "no trial has left a placement group behind"


def test_floors_have_every_metric_that_trials_have(make):
    made = make({})
    found = floors(made.campaign.plan.config({}), made.campaign.plan)
    assert set(found) == {"raw_input", "random_init"}
    for values in found.values():
        assert {*METRICS} - {"loss"} <= set(values) and 0 < values["knn_top1"] <= 1 and values["lidar"] >= 1


def test_what_is_read_for_the_looks_counts_once_as_a_part_of_the_first(make):
    plan = make({}).campaign.plan
    config, times = plan.config({}), [time.monotonic()]
    eye = objective(config, plan, torch.device("cpu"), spent=50.0)
    method = build_method(config.method, config.encoder, config.views)
    times.append(time.monotonic())
    seen = []
    for _ in range(2):
        looked = eye(method)
        times.append(time.monotonic())
        seen.append({name.removeprefix(plan.prefix): value for name, value in looked.items()})
    reading = times[1] - times[0]
    for number, values in enumerate(seen):
        assert 50 + 0.5 * reading < values["seconds"] <= 50 + times[number + 2] - times[0]
    assert 0.5 * reading < seen[0]["look_seconds"] and seen[1]["look_seconds"] <= times[3] - times[2]


def test_concurrency_is_derived_and_what_does_not_fit_is_said(shards):
    config = parse(TREE, {"ray.num_cpus": 4})
    assert max_concurrent(config, None) == (2, "4 CPUs / 2 per trial (1 x (1 to train + 1 to read))")
    with pytest.raises(UserError, match=r"tune\.max_concurrent: 3 trials do not fit at a time, 2 do: 4 CPUs / 2 per"):
        max_concurrent(config, 3)
    with pytest.raises(UserError, match="tune: a trial does not fit: 4 CPUs / 16 per trial"):
        max_concurrent(parse(TREE, {"ray.num_cpus": 4, "train.num_workers": 8}), None)


def test_a_trial_has_its_share_of_the_threads_of_its_node(shards):
    config, cpus = parse(TREE), os.cpu_count() or 1  # the Ray of this session has one node of 4 CPUs: 2 trials fit
    shares = [threads_here(config, at_a_time) for at_a_time in (None, 1, 2, 100)]
    assert shares == [1, cpus, max(1, cpus // 2), max(1, cpus // 2)]


def test_a_cluster_that_may_grow_is_waited_for(shards, capsys):
    config = parse(TREE, {"ray": {"address": "auto", "wait_seconds": 1}, "train.num_workers": 4})
    with pytest.raises(UserError, match="tune: a trial does not fit: 4 CPUs / 8 per trial"):
        max_concurrent(config, None)
    assert "ray: waiting up to 1 s for 8 CPUs (4 there)" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"tune\.max_concurrent: 3 trials do not fit at a time, 2 do"):
        max_concurrent(config.model_copy(update={"train": parse(TREE).train}), 3)
    assert "ray: waiting up to 1 s for 6 CPUs (4 there)" in capsys.readouterr().out


def test_the_manifest_of_the_shards_is_what_trials_read(make, shards):
    made = make({"num_trials": 1})
    work, total = work_of(made.shards, made.root)(made.campaign.plan.config({"train.steps": 7}))
    assert total == 7 and work.parent == made.root / "pretrain" and manifest.load(shards.folder).num_rows("train")
