"""A stage's folder that was deleted by hand, as messages advise: its run has no point twice."""

import shutil

import pytest

from pipelines.errors import UserError
from pipelines.storage import permissions
from pipelines.tracking import runs as tracking
from tests.support.tracked import history, log, recipe, runs, stage_folder


def fails_after_the_stage(config, root, folder, steps):
    with tracking.run(config, root):
        with tracking.stage_run(config, root, "pretrain", folder, reused=False):
            log(folder, steps, final=True)
        raise UserError("the next stage fails")


def test_what_is_made_anew_in_the_same_run_doubles_no_point(tmp_path):
    config = recipe(tmp_path, "anew")
    for steps in ([1, 2], [1, 2, 3]):
        folder = stage_folder(tmp_path)
        with pytest.raises(UserError, match="the next stage fails"):
            fails_after_the_stage(config, tmp_path, folder, steps)
        shutil.rmtree(folder)
    _, (child,) = runs(config, tmp_path)
    assert [step for step, *_ in history(config, tmp_path, child)] == [1, 2, 3]


def test_a_token_file_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nope"))
    with pytest.raises(UserError, match=rf"^RAY_AUTH_TOKEN_PATH: {tmp_path}/nope: no such file"):
        permissions.named()
    (tmp_path / "nope").write_text("t")
    permissions.named()
