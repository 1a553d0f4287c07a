"""What is shown while a campaign runs."""

import io
import time

from rich.console import Console

from pipelines.tuning import table
from tests.support.campaigns import campaign, peak_at, play, recipe


def test_the_table_shows_every_trial_its_values_and_the_best(tmp_path):
    keys = {"method.temperature": {"loguniform": [0.05, 1.0]}, "optim.lr": {"choice": [0.001, 0.003]}}
    made = campaign(tmp_path, recipe(space=keys, num_trials=4))
    play(made, made.next_search, peak_at(0.3))
    best = made.ranked()[0]
    again = campaign(tmp_path, recipe(space=keys, num_trials=6))
    again.failed(again.next_search().number, "[red] is no markup")
    again.next_search()
    shown = Console(file=io.StringIO(), width=200)
    shown.print(table.table(again, time.monotonic(), 2))
    text = shown.file.getvalue()
    for words in ("trial", "state", "knn_top1", "done", "time", "temperature", "lr", "running", "failed", "100%"):
        assert words in text, text
    for trial in again.trials:
        assert f"{trial.changes['method.temperature']:.4g}" in text
    line = table.status(again, time.monotonic() - 75, 2)
    assert line.startswith(f"5 of 6 trials, best knn_top1 {best.value('knn_top1'):.3f} (trial {best.number}), ETA ")
    assert line.endswith("running for 1m15s")


def test_a_campaign_that_has_only_begun_has_a_table(tmp_path):
    made = campaign(tmp_path)
    assert table.status(made, time.monotonic(), 1) == "0 of 9 trials, running for 0s"
    made.next_search()
    assert table.table(made, time.monotonic(), 1).row_count == 1


def test_keys_that_end_alike_have_headers_of_their_own():
    keys = ["views.global.crop_min", "views.local.crop_min", "optim.lr", "encoder"]
    assert table.headers(keys) == ["global.crop_min", "local.crop_min", "lr", "encoder"]
    assert table.headers(["lr", "optim.lr"]) == ["lr", "optim.lr"]
