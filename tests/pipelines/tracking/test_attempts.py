"""The code that a review names is the code that ran: of attempts that differ, and where training was reused."""

from functools import partial

import pytest

from pipelines.registry.page import tables
from pipelines.registry.registry import Registry
from pipelines.registry.review import gather
from pipelines.tracking import provenance
from pipelines.tracking import runs as tracking
from pipelines.tracking.server import storage
from tests.pipelines.tracking.test_provenance import git
from tests.support.tracked import files, log, recipe, runs, stage_folder


@pytest.fixture
def edited(checkout, monkeypatch):
    """Changes the code that runs, a temporary git checkout; commits it if there is a message. Returns the commit."""
    monkeypatch.setattr(provenance, "commit", partial(provenance.commit, checkout))

    def edit(text, message=""):
        (checkout / "code.py").write_text(text)
        if message:
            git(checkout, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-a", "-m", message)
        return git(checkout, "rev-parse", "HEAD").strip()

    return edit


def attempt(config, root, folder, error=None, *, reused=False):
    with tracking.run(config, root), tracking.stage_run(config, root, "pretrain", folder, reused=reused):
        if not reused:
            log(folder, [1])
        if error:
            raise error


def test_a_resumed_run_keeps_the_code_of_every_attempt(tmp_path, edited):
    config, folder = recipe(tmp_path, "resumed"), stage_folder(tmp_path)
    first = edited("a = 1\n# unsaved\n")
    for _ in range(2):  # the second attempt differs in nothing
        with pytest.raises(KeyboardInterrupt):
            attempt(config, tmp_path, folder, KeyboardInterrupt)
    second = edited("a = 2\n", "second")
    with pytest.raises(KeyboardInterrupt):
        attempt(config, tmp_path, folder, KeyboardInterrupt)
    edited("a = 3\n")
    attempt(config, tmp_path, folder)
    (run,), _ = runs(config, tmp_path)
    found = gather.of_run(Registry(storage(config, tmp_path)), run.info.run_id).facts
    said = [(code.commit, code.dirty, code.patch) for code in found.lineage.trained]
    assert said == [
        (first, True, "uncommitted.patch"), (second, False, ""), (second, True, "uncommitted.3.patch"),
    ]  # fmt: skip
    assert first != second and found.lineage.evaluated == () and found.lineage.restarts == 3
    assert "environment.3.json" in files(config, tmp_path, run)
    rows = tables.lineage(found).cells
    assert [text for name, text in rows if name.endswith("commit")] == [f"{c} (trunk)" for c in (first, second, second)]


def test_reused_training_names_the_code_that_trained(tmp_path, edited):
    config, folder = recipe(tmp_path, "reused"), stage_folder(tmp_path)
    trained = edited("a = 1\n")
    attempt(config, tmp_path, folder)
    evaluated = edited("a = 2\n", "only the evaluation changed")
    attempt(config, tmp_path, folder, reused=True)
    (newest, oldest), _ = runs(config, tmp_path)
    lineage = gather.of_run(Registry(storage(config, tmp_path)), newest.info.run_id).facts.lineage
    assert [(code.commit, code.run_id) for code in lineage.trained] == [(trained, oldest.info.run_id)]
    assert [(code.commit, code.run_id) for code in lineage.evaluated] == [(evaluated, newest.info.run_id)]
