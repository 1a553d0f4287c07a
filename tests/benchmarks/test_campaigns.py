"""The table of campaigns is what their reports say."""

import json
from itertools import product

import pytest

from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.outcome import findings
from tests.benchmarks import campaign as campaign_benchmark
from tests.benchmarks import campaigns
from tests.support.campaigns import campaign, peak_at, play, recipe


def test_a_report_becomes_a_row_of_the_readme(tmp_path):
    made = campaign(tmp_path / "storage/tune/abc", recipe(num_trials=9))
    play(made, made.next_search, peak_at(0.3))
    plan_confirmation(made)
    play(made, made.next_confirmation, peak_at(0.3))
    floors = {"raw_input": {"knn_top1": 0.4}, "random_init": {"knn_top1": 0.25}}
    found = findings.find(made, "tiny", floors)
    (made.folder / "report").mkdir()
    (made.folder / "report/report.json").write_text(found.model_dump_json())
    (tmp_path / "storage/tune/not-finished").mkdir()
    readme, kept = tmp_path / "README.md", tmp_path / "campaigns.json"
    readme.write_text(f"before\n{campaigns.BEGIN}old\n{campaigns.END}\nafter\n")
    campaigns.main([str(tmp_path / "storage")], readme, kept)
    first = readme.read_text()
    campaigns.main([], readme, kept)
    assert readme.read_text() == first and "old" not in first
    assert first.startswith("before\n") and first.endswith(f"{campaigns.END}\nafter\n")
    (line,) = [line for line in first.splitlines() if line.startswith("| tiny")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    best, own = found.confirmed[0], found.confirmed[-1]
    assert cells[:3] == ["tiny: temperature x lr", "knn_top1", f"9 ({len(made.ranked())})"]
    assert cells[3] == f"{best.mean:.3f} +- {best.std:.3f} (3 seeds)"
    assert cells[4] == f"{own.mean:.3f} +- {own.std:.3f} (3 seeds)"
    assert cells[5] == "0.250 / 0.400"
    assert "(*)" not in line and float(cells[8]) == pytest.approx(found.cost.ratio, rel=0.01)
    held = next(each for each in found.agreements if (each.metric, each.against) == ("rankme", "knn_top1"))
    assert cells[9] == f"-1.00 (knn_top1, {held.num_trials} trials at {held.share:.0%})"
    assert 4 <= held.num_trials < 9 and held.share == pytest.approx(3 / 9)


def test_rows_that_were_recorded_before_are_shown_as_they_were():
    old = json.loads(campaigns.ROWS.read_text())["cifar10-simclr-tuned"]
    line = campaigns.table([old]).splitlines()[2]
    assert line.endswith("| 3,709 (*) | 1.53 | -0.39 (knn_top1) |")


def test_a_recipe_that_wins_itself_is_shown_as_the_best(tmp_path):
    own = {"method.temperature": {"choice": [0.5, 0.9]}}
    made = campaign(tmp_path, recipe(space=own, num_trials=2, scheduler="none", confirm={"top_k": 1}))
    play(made, made.next_search, peak_at(0.5))
    plan_confirmation(made)
    play(made, made.next_confirmation, peak_at(0.5))
    row = campaigns.row(findings.find(made, "own", {}).model_dump())
    assert row["best"] == row["default"] and len(row["best"]) == 3


def test_what_a_search_has_missed_costs_the_grid_that_would_then_be_run():
    made_up = [campaign_benchmark._made_up(*point) for point in product(*campaign_benchmark.KEYS.values())]
    grid = campaign_benchmark.curves(made_up)
    whole = campaign_benchmark.seconds_of(grid)
    assert campaign_benchmark.play(grid, 2.0, "grid", "none", 0) == (pytest.approx(2 * whole), False)
    best = max(curve.looks[-1]["score"] for curve in grid.values() if curve.whole)
    orders = [campaign_benchmark.play(grid, best, "grid", "none", seed) for seed in range(4)]
    assert all(found and seconds <= whole for seconds, found in orders) and len(set(orders)) > 1


def test_a_busy_moment_of_the_machine_is_no_configs_own():
    made_up = [campaign_benchmark._made_up(*point) for point in product(*campaign_benchmark.KEYS.values())]
    calm = campaign_benchmark.curves(made_up)
    for look in made_up[20]["looks"][3:]:
        look["seconds"] += 60
    assert campaign_benchmark.curves(made_up) == calm


def test_without_a_confirmation_or_labels_there_are_dashes(tmp_path):
    made = campaign(tmp_path, recipe(metric="rankme", confirm={"seeds": 0}))
    play(made, made.next_search, lambda trial, share: {"rankme": 5 + share, "feature_std": 0.5})
    line = campaigns.table([campaigns.row(findings.find(made, "bare", {}).model_dump())])
    assert "| - | - | - / - |" in line and line.splitlines()[2].endswith("| - |")
    assert campaigns.table([]) == "No campaign is recorded yet.\n"
