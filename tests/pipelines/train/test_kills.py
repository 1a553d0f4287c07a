"""kill -9 at any moment changes nothing: real commands, real signals. Kills in one process: test_pretrain.py."""

import random
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.parse import parse
from pipelines.data import ingest
from pipelines.stage import Nothing
from pipelines.storage import checkpoint, outbox
from pipelines.train import pretrain
from pipelines.train.audit import of_run
from tests.support.kill_runs import ROLES, KilledRun
from tests.support.recipe import TREE

LONG = {"steps": 4000, "num_workers": 2, "checkpoint_seconds": 0.5, "max_failures": 100}
SHORT = {**LONG, "steps": 600, "num_workers": 1}


def recipe(train: dict[str, Any]) -> dict[str, Any]:
    return {**TREE, "train": {**TREE["train"], **train}}


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(p.step, p.metrics["loss"]) for p in outbox.read(folder) if "loss" in p.metrics]


def weights(folder: Path) -> str:
    path, _ = checkpoint.latest(folder / "checkpoints")
    assert path is not None
    return checkpoint.digest(path)


def undisturbed(folder: Path, train: dict[str, Any], **parts: Any) -> Path:
    """Folder of the same pre-training, nothing killed; in this process, on the session's Ray.

    Args:
        parts: other sections of the recipe.
    """
    config, stage = parse({**recipe(train), **parts}), folder / "pretrain"
    stage.mkdir(parents=True)
    pretrain.run(config, ingest.run(config, Nothing(), folder / "shards"), stage)
    return stage


def assert_equal(run: KilledRun, whole: Path) -> None:
    folder = run.folder()
    assert folder is not None
    assert losses(folder) == losses(whole) and weights(folder) == weights(whole)
    assert of_run(folder).is_exact and of_run(folder).is_complete


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_driver_goes_on_with_the_same_command(tmp_path, ray_session):
    """Once while training, once while a checkpoint is being written."""
    whole = undisturbed(tmp_path / "whole", SHORT)
    run = KilledRun(tmp_path / "killed", recipe(SHORT))

    try:
        run.start()
        assert run.until(lambda: run.step() >= 50, 300) and run.kill("driver"), run.printed()
        run.wait(60)
        run.start()
        assert (
            run.until(lambda: run.step() > 150 and run.half_written(), 300)
            and run.kill("worker")
            and run.kill("driver")
        ), run.printed()
        run.wait(60)
        assert 50 <= run.step() < 600
        run.start()
        assert run.wait(600) == 0, run.printed()
        assert_equal(run, whole)
        assert len(of_run(run.folder() or tmp_path).restarts) >= 2
    finally:
        run.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_at_random_moments_change_nothing(tmp_path, ray_session):
    """Workers, controllers, raylets and drivers; some of them in the middle of a checkpoint write."""
    whole = undisturbed(tmp_path / "whole", LONG)
    run = KilledRun(tmp_path / "killed", recipe(LONG))
    dice, kills, limit = random.Random(0), [], LONG["steps"] * 0.95
    try:
        run.start()
        while len(kills) < 24:
            role = list(ROLES)[len(kills)] if len(kills) < len(ROLES) else dice.choice(list(ROLES))
            target = run.step() + dice.randrange(1, 150)
            in_write = dice.random() < 0.3

            def moment(target: int = target, in_write: bool = in_write) -> bool:
                return run.step() >= target and (run.half_written() or not in_write)

            assert run.until(moment, 600), run.printed()
            assert run.step() < limit, f"too few steps for the kills: {kills}"
            if run.kill(role):
                kills.append((role, run.step(), run.half_written()))
            if role in ("driver", "raylet"):
                run.wait(120)
                run.start()
        status = run.wait(900)
        if status != 0:  # the last kill took the driver with it
            run.start()
            assert run.wait(900) == 0, run.printed()
        assert_equal(run, whole)
        found = of_run(run.folder() or tmp_path)
        print(f"\n{len(kills)} kills (role, step, left half a checkpoint): {kills}\n{found.markdown()}")
        assert {role for role, _, _ in kills} == set(ROLES) and any(half for _, _, half in kills)
    finally:
        run.close()
