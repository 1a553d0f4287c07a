"""What is shown while a campaign runs."""

import io
import time

from rich.console import Console

from pipelines.tuning import table
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.records import Look
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
    assert line.startswith(
        f"5 of 6 trials, best of one seed: knn_top1 {best.value('knn_top1'):.3f} (trial {best.number}), ETA "
    )
    assert line.endswith("running for 1m15s")


def test_a_campaign_that_has_only_begun_has_a_table(tmp_path):
    made = campaign(tmp_path)
    assert table.status(made, time.monotonic(), 1) == "0 of 9 trials, running for 0s"
    made.next_search()
    assert table.table(made, time.monotonic(), 1).row_count == 1


def test_the_eta_counts_the_confirmations_and_the_looks_so_far_are_shown(tmp_path):
    made = campaign(tmp_path, recipe(num_trials=6, scheduler="none", confirm={"top_k": 1, "seeds": 3}))
    first, second = made.next_search(), made.next_search()
    made.looked(second.number, Look(step=20, values=peak_at(0.3)(second, 0.2), seconds=2))
    value = peak_at(0.3)(second, 0.2)["knn_top1"]
    assert f"best look so far knn_top1 {value:.3f} (trial 1 at 22%), running" in table.status(made, time.monotonic(), 1)
    made.failed(first.number, "at once")
    assert table.seconds_left(made) is None, "nothing says how long a trial takes"
    for step in range(30, 91, 10):
        made.looked(second.number, Look(step=step, values=peak_at(0.3)(second, step / 90), seconds=step / 10))
    assert table.seconds_left(made) == 4 * 9 + (1 + 1) * 3 * 9
    assert ", best of one seed: knn_top1 " in (line := table.status(made, time.monotonic(), 2)) and "ETA 45s" in line
    play(made, made.next_search, peak_at(0.3))
    assert table.seconds_left(made) == 6 * 9, "the confirmations are not planned yet, and they will come"
    plan_confirmation(made)
    assert table.seconds_left(made) == 6 * 9
    play(made, made.next_confirmation, peak_at(0.3))
    assert table.seconds_left(made) == 0 and "ETA" not in table.status(made, time.monotonic(), 1)


def test_stopped_trials_make_the_search_shorter_not_the_confirmations(tmp_path):
    made = campaign(tmp_path, recipe(num_trials=3, confirm={"top_k": 2, "seeds": 1}))
    one, two = made.next_search(), made.next_search()
    for trial, score in ((one, 0.9), (two, 0.1)):
        for step in range(10, 91, 10):
            made.looked(trial.number, Look(step=step, values={"knn_top1": score, "feature_std": 0.5}, seconds=step))
    assert [t.state for t in made.trials] == ["done", "stopped"] and made.trials[1].seconds == 10
    assert table.seconds_left(made) == (90 + 10) / 2 + (2 + 1) * 90


def test_trials_that_came_to_nothing_are_said_once_and_whether_to_try_again(tmp_path, capsys):
    made = campaign(tmp_path, recipe(num_trials=3))
    troubles = table.Troubles()
    made.failed(made.next_search().number, "the loss is not finite")
    troubles.say(made.trials)
    assert capsys.readouterr().out == "tune: trial 0 failed: the loss is not finite\n"
    made.failed(made.next_search().number, "the storage is [red] full", curable=True)
    last = made.next_search()
    made.looked(last.number, Look(step=10, values={"feature_std": 0.0}, seconds=1))
    troubles.say(made.trials)
    said = " ".join(capsys.readouterr().out.split())
    assert "trial 0" not in said and "tune: trial 1 failed: the storage is [red] full" in said
    assert "tune: trial 2 collapsed: feature_std 0 at step 10" in said
    assert said.endswith("tune: 1 trials failed for reasons that may pass: the same command tries them again")


def test_keys_that_end_alike_have_headers_of_their_own():
    keys = ["views.global.crop_min", "views.local.crop_min", "optim.lr", "encoder"]
    assert table.headers(keys) == ["global.crop_min", "local.crop_min", "lr", "encoder"]
    assert table.headers(["lr", "optim.lr"]) == ["lr", "optim.lr"]
