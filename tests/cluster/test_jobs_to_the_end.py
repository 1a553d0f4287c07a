"""Jobs that take minutes: a run whose head is lost on the way, and a campaign."""

import json
import shutil
import tempfile
from pathlib import Path

import psutil
import pytest
import yaml

from cluster import local_nodes
from pipelines.storage import checkpoint
from pipelines.train.audit import of_run
from tests.cluster.test_jobs import stage
from tests.support.commands import selfray, start, until
from tests.support.recipe import BRIEF, TREE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_after_the_loss_of_the_head_submitting_again_goes_on(tmp_path):
    """On a new cluster, since the head takes the old one with it, and the storage of the old one."""
    folder, storage = Path(tempfile.mkdtemp(prefix="sh-", dir="/tmp")), tmp_path / "store"
    train = {**TREE["train"], "steps": 4000, "num_workers": 2, "checkpoint_seconds": 0.5, "threads": 1}
    recipe, log = tmp_path / "recipe.yaml", tmp_path / "log"
    recipe.write_text(yaml.safe_dump({**TREE, "storage": str(storage), "train": train}))

    def submit() -> tuple[str, ...]:
        made = local_nodes.up(folder, num_nodes=3, cpus_per_node=2)
        return "submit", str(recipe), "--verb", "pretrain", "--address", made.address

    def saved() -> bool:
        work = stage(storage, 4000)
        return work is not None and checkpoint.latest_step(work / "checkpoints") > 0

    try:
        follower = start(log, *submit())
        assert until(saved, 300), log.read_text()
        made = local_nodes.load(folder)
        assert made is not None
        head = psutil.Process(made.nodes[0].pid)
        head.kill()
        head.wait(60)
        assert follower.wait(200) == 1
        assert "if the cluster itself is gone, submit again" in log.read_text(), log.read_text()
        assert "Traceback" not in log.read_text()
        local_nodes.down(folder)
        again = selfray(*submit())
        assert again.returncode == 0, again.stdout
        work = stage(storage, 4000)
        assert work is not None
        found = of_run(work)
        print(f"\n{found.verdict()}; restarts after steps {found.restarts}")
        assert found.is_exact and found.is_complete and len(found.restarts) == 1 and found.restarts[0] > 0
    finally:
        local_nodes.down(folder)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_campaign_is_submitted_and_followed_to_its_report(here, tmp_path):
    space = {"method.temperature": {"choice": [0.2, 0.5]}}
    tune = {"space": space, "num_trials": 2, "looks": 4, "grace": 0.3, "samples": 256}
    tune["confirm"] = {"top_k": 1, "seeds": 1}
    tree = {**TREE, "storage": str(here.storage), "tune": tune, "evaluate": BRIEF}
    recipe, log = tmp_path / "recipe.yaml", tmp_path / "log"
    recipe.write_text(yaml.safe_dump({**tree, "train": {**TREE["train"], "steps": 60, "threads": 1}}))
    follower = start(log, "submit", str(recipe), "--verb", "tune", *here.at)
    try:
        assert follower.wait(1500) == 0, log.read_text()
    finally:
        follower.kill()
        follower.wait()
    said = log.read_text()
    assert "submitted selfray-tune-tiny-" in said and "models:/tiny@candidate" in said, said
    (page,) = here.storage.glob("tune/*/report/report.html")
    assert f"report: {page}" in said
    found = json.loads(page.with_suffix(".json").read_text())
    assert len([trial for trial in found["trials"] if trial["kind"] == "search"]) == 2 and found["confirmed"]
