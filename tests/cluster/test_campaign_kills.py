"""kill -9 into a node that a trial trains on: the campaign comes to its end, and nothing is run twice."""

import shutil
import tempfile
from pathlib import Path

import pytest

from cluster import local_nodes
from pipelines.train.audit import of_run
from pipelines.tuning.records import Trial
from tests.support.campaign_runs import CampaignRun
from tests.support.recipe import TREE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
LOOKS = 6
RECIPE = {
    **TREE,
    "train": {**TREE["train"], "steps": 900, "checkpoint_seconds": 1, "threads": 1, "max_failures": 10},
    "tune": {
        "space": {"method.temperature": {"choice": [0.1, 0.2, 0.5]}},
        **{"searcher": "grid", "scheduler": "none", "num_trials": 3, "looks": LOOKS},
        **{"samples": 256, "view_samples": 32, "confirm": {"top_k": 1, "seeds": 1}},
    },
}


def test_the_node_of_a_trial_is_killed(tmp_path):
    nodes = Path(tempfile.mkdtemp(prefix="sn-", dir="/tmp"))  # short: Ray puts sockets below it
    run, killed = CampaignRun(tmp_path, RECIPE, nodes), list[Trial]()

    def kill() -> bool:
        killed.extend(trial for trial in [run.kill_node_of_a_trial(looks=1)] if trial is not None)
        return bool(killed)

    try:
        run.up()
        run.start()
        assert run.until(kill, 600), run.printed()
        before = {trial.number: trial for trial in run.trials()}
        if run.wait(900) != 0:  # the driver went with the node: somebody starts it again
            run.up()
            run.start()
            assert run.wait(900) == 0, run.printed()
        ended = {trial.number: trial for trial in run.trials()}
        assert [trial.state for trial in ended.values()] == ["done"] * 5, run.printed()  # 3, and 1 + 1 to confirm
        assert (run.campaign() / "report" / "report.html").exists()
        for number, trial in before.items():
            assert ended[number].looks[: len(trial.looks)] == trial.looks, "what was seen before the kill stays"
            assert trial.state != "done" or ended[number] == trial
        for trial in ended.values():
            assert [look.step for look in trial.looks] == [150, 300, 450, 600, 750, 900]
            found = of_run(trial.work)
            assert found.is_exact and found.is_complete, found.markdown()
            lost = trial.number == killed[0].number
            assert len(found.restarts) >= lost and found.taken_again < 900, found.markdown()
        of_killed = of_run(ended[killed[0].number].work)
        assert min(of_killed.restarts) >= killed[0].step > 0, "it went on from a checkpoint, not from the start"
        print(f"\ntrial {killed[0].number} lost its node after step {killed[0].step}\n{of_killed.markdown()}")
    finally:
        run.close()
        local_nodes.down(nodes)
        shutil.rmtree(nodes, ignore_errors=True)
