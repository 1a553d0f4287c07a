"""The benchmarks run, say what is missing, and their numbers reach docs/performance.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks import augment, decode, record, step, tables
from tests.benchmarks.__main__ import BENCHMARKS, LONG
from tests.benchmarks.runner import Contender, Outcome, Spread, goal, optional, race, spread


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {"augment": augment.run(quick=True), "decode": decode.run(quick=True)}


@pytest.mark.parametrize("name", ["augment", "decode"])
def test_every_contender_has_a_rate_or_says_why_not(outcomes, name):
    rows = [row for rows in outcomes[name].tables.values() for row in rows]
    for row in rows:
        (rate,) = (value for column, value in row.items() if column.startswith("images per"))
        assert (isinstance(rate, Spread) and 0 < rate.low <= rate.median <= rate.high) or "not" in rate, row
    assert any(isinstance(value, Spread) for row in rows for value in row.values())
    measured = [goal["measured"] for goal in outcomes[name].goals]
    assert measured and all(m is None or m.median > 0 for m in measured)


def test_contenders_take_turns_and_ratios_are_taken_within_a_round():
    turns: list[tuple[str, int]] = []
    now = [0.0]

    def takes(name: str, seconds: float) -> Contender:
        def work(number: int) -> int:
            turns.append((name, number))
            now[0] += seconds * (1 + number)  # every round is slower than the one before
            return 10

        return Contender(name, work)

    raced = race([takes("a", 1.0), takes("b", 4.0), Contender("c", None, "not installed")], 2, lambda: now[0] + 1e-9)
    assert turns == [("a", -1), ("b", -1), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert raced.rates["a"] == pytest.approx([10, 5])
    assert raced.ratio("a", ("b", "c")) == pytest.approx(Spread(4, 4, 4))
    assert raced.ratio("a", ("c",)) is None
    assert raced.rows("x", "rate", {"x b": ("b",)})[2] == {
        "case": "x", "contender": "c", "rate": "not installed", "x b": "-"
    }  # fmt: skip


def test_a_missing_package_is_a_row():
    def build():
        import no_such_package_at_all

        return no_such_package_at_all.work

    assert optional("peer", build) == Contender("peer", None, "not installed (no_such_package_at_all)")


def test_the_median_decides_on_a_goal():
    assert goal("g", spread([1, 2, 9]), at_least=2)["met"] is True
    missed = goal("g", spread([1, 2, 9]), at_most=1.5, why="because")
    assert (missed["met"], missed["why"], missed["wanted"]) == (False, "because", "at most 1.5")
    assert goal("g", spread([1]), at_most=1.5, why="because")["why"] == ""
    assert goal("g", None, at_least=2)["met"] is None
    with pytest.raises(ValueError, match="either"):
        goal("g", None)


def test_numbers_go_to_json_and_from_there_to_the_page(outcomes, tmp_path):
    file, readme = tmp_path / "bench.json", tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{tables.BEGIN}old\n{tables.END}\nafter\n")
    for name, outcome in outcomes.items():
        record.keep(name, record.measured("About it. More.", lambda _, made=outcome: made, True), file)
    again = record.measured("About it.", lambda _: outcomes["augment"], True)
    record.keep("augment", again, file)
    assert set(record.load(file)) == {"augment", "decode"}
    assert record.load(file)["decode"]["versions"]["torch"]
    tables.write(readme, file)
    first = readme.read_text()
    tables.write(readme, file)
    assert readme.read_text() == first and "old" not in first and first.endswith(f"{tables.END}\nafter\n")
    for outcome in outcomes.values():
        for row in outcome.goals:
            assert f"| {row['goal']} | {row['wanted']} |" in first
    assert json.loads(file.read_text())["augment"]["goals"][0]["measured"]


def test_cells():
    assert tables.cell(Spread(1234.5, 0.0123, 12.34)) == "1,234 (0.0123-12.3)"
    assert tables.cell(99.96) == "100" and tables.cell(0.0) == "0" and tables.cell("text") == "text"
    table = tables.markdown([{"a": "x", "b": 1.5}, {"a": "y", "b": "not installed"}])
    assert table == "| a | b |\n|---|---:|\n| x | 1.5 |\n| y | not installed |"


def test_every_benchmark_is_listed_and_an_unknown_one_refused():
    folder = Path(tables.__file__).parent
    assert {p.stem for p in folder.glob("*.py") if "\ndef run(quick" in p.read_text()} == {*BENCHMARKS, *LONG}
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no benchmark nothing; there are augment," in done.stderr


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_at_tiny_sizes():
    outcome = step.run(quick=True)
    (rows,) = outcome.tables.values()
    assert len(rows) == len(step.TINY) and all(row["ours"].median > 0 for row in rows)
    assert len(outcome.goals) == 4 * len(rows)
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="needs a CUDA device"):
            step.run()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["stream", "wait", "memory", "startup", "placement", "scaling", "precision"])
def test_those_that_start_ray_run_at_tiny_sizes(name, tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks", name, "--quick", "--json", str(tmp_path / "bench.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr
    written = record.load(tmp_path / "bench.json")[name]
    assert written["tables"] and (written["goals"] or name == "placement")  # which compares, and sets no goal
