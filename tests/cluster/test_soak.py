"""An hour of faults: every two minutes a random part of the cluster is killed, and nothing is lost."""

import random
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from cluster import local_nodes
from tests.cluster.test_node_kills import LARGE, ROLES, SEED, STORE_MB, assert_ends_well, assert_tracked_once
from tests.pipelines.train.test_kills import assert_equal, recipe, undisturbed
from tests.support.mlflow_server import MlflowServer
from tests.support.node_runs import NodesRun

HOUR_S, EVERY_S = 3600, 120
ALL = (*ROLES, "data node")
TRAIN = {"steps": 20_000, "num_workers": 2, "checkpoint_seconds": 2, "max_failures": 1000, "threads": 1}


@pytest.mark.soak
@pytest.mark.timeout(3 * HOUR_S)
def test_an_hour_of_kills_loses_nothing(tmp_path, ray_session):
    """One run after the other, each equal to the undisturbed one, until the hour is over."""
    whole = undisturbed(tmp_path / "whole", TRAIN, **LARGE)
    nodes, server = Path(tempfile.mkdtemp(prefix="so-", dir="/tmp")), MlflowServer(tmp_path)
    dice, kills, num_runs = random.Random(SEED), [], 0
    try:
        server.start()
        over = time.monotonic() + HOUR_S
        while time.monotonic() < over:
            tree = {**recipe(TRAIN), **LARGE, "name": f"soak-{num_runs}"}
            run = NodesRun(tmp_path / str(num_runs), tree, nodes, server, store_mb=STORE_MB)
            try:
                kills += _killed(run, dice)
                assert_equal(run, whole)
                assert_tracked_once(run)
            finally:
                run.close()
            num_runs += 1
        print(f"\nseed {SEED}: {len(kills)} kills in {num_runs} runs of {TRAIN['steps']} steps: {kills}")
        assert len(kills) >= HOUR_S / EVERY_S / 2, "too few to speak of a soak"
    finally:
        local_nodes.down(nodes)
        server.kill()
        shutil.rmtree(nodes, ignore_errors=True)


def _killed(run: NodesRun, dice: random.Random) -> list[tuple[str, int]]:
    """Run to the end; (role, step) of each kill on the way."""
    kills = []
    run.up()
    run.start()
    due = time.monotonic() + EVERY_S
    while _trains_at(run, due):
        role = dice.choice(ALL)
        if run.until(partial(run.kill, role), 60):
            kills.append((role, run.step()))
            if role == "mlflow":
                time.sleep(20)
            run.repair(role)
            run.up()  # the nodes that are gone come back
        due = time.monotonic() + EVERY_S
    assert_ends_well(run, 60)
    return kills


def _trains_at(run: NodesRun, due: float) -> bool:
    """Wait until then; whether the run has not ended before."""
    return run.until(lambda: time.monotonic() >= due and run.step() > 0, HOUR_S) and run.running
