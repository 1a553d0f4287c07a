"""What a typo, a list or a look at a recipe costs: nothing that takes seconds to import."""

import ast
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.cli import listing, show, summary
from pipelines.config.parse import load, load_keys, parse
from pipelines.tracking import ui
from ssl_core import catalog, component_source
from tests.support.recipe import TREE

HEAVY = ("torch", "ray", "mlflow", "sklearn", "scipy", "matplotlib", "pyarrow", "torchvision", "optuna")
COMPONENTS = [(package, name) for package in listing.PACKAGES.values() for name in catalog.names(package)]
CALL = """
import sys
from pipelines.__main__ import main
try:
    status = main(sys.argv[1:])
except SystemExit as error:
    status = error.code
print([name for name in {heavy} if name in sys.modules], status)
"""


def imported(*arguments: str, cwd: Path) -> tuple[list[str], int]:
    """Which of HEAVY a command line has imported at its end, and its exit status."""
    command = [sys.executable, "-c", CALL.format(heavy=HEAVY), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=200, check=True)
    names, _, status = done.stdout.splitlines()[-1].rpartition(" ")
    return ast.literal_eval(names), int(status)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("list", 0),
        ("show digits", 0),
        ("show tune_cifar10_mae --set seed=3", 0),
        ("show digits --set evaluate.suite=full", 0),
        ("runn digits", 2),
        *((f"{verb} digts", 1) for verb in ("run", "tune", "submit", "plan", "doctor", "audit", "ui")),
        *(
            (f"{verb} digits --set optim.lrr=1", 1)
            for verb in ("run", "tune", "submit", "plan", "doctor", "audit", "ui")
        ),
        ("run digits --set method.temperature=-1", 1),
        ("run digits --set encoder.name=renset", 1),
        ("pretrain nowhere/mine.yaml", 1),
        ("run .", 1),
        ("submit .", 1),
    ],
)
def test_light_command_lines_import_nothing_heavy(line, status, tmp_path):
    assert imported(*line.split(), cwd=tmp_path) == ([], status)


@pytest.mark.parametrize(("package", "name"), COMPONENTS)
def test_a_config_read_from_source_is_the_component_s(package, name):
    light, full = component_source.config(package, name), catalog.find(package, name).Config
    assert light is not full and light.__qualname__ == full.__qualname__
    assert light.model_json_schema() == full.model_json_schema()
    assert component_source.summary(package, name) == (catalog.find(package, name).__doc__ or "").split("\n")[0]


@pytest.mark.parametrize("recipe", ["digits", "tune_digits", "cifar10_mae", "cifar10_moco", "digits_supervised"])
def test_what_show_prints_is_what_runs(recipe):
    assert load_keys(recipe).model_dump(mode="json") == load(recipe).model_dump(mode="json")


def test_validators_of_a_config_run_without_the_component(capsys):
    assert main(["show", "digits", "--set", "views.global.hue=0.5", "--set", "views.global.strength=3"]) == 1
    assert "views.global: hue * strength is 1.5" in capsys.readouterr().err


def test_only_show_leaves_the_parts_unbuilt(capsys):
    odd = ["digits", "--set", "views.eval.size=8"]
    assert main(["show", *odd]) == 0
    assert main(["doctor", *odd]) == 1
    assert "method simclr reads views of one shape: views.global gives" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "said"), [(KeyboardInterrupt(), "stopped"), (KeyboardInterrupt("why"), "why")])
def test_ctrl_c_says_that_it_stopped(error, said, monkeypatch, capsys):
    def interrupted(options: object) -> int:
        raise error

    monkeypatch.setattr(show, "_list", interrupted)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        assert main(["list"]) == 130
    finally:
        signal.signal(signal.SIGTERM, handlers[0])
        signal.signal(signal.SIGINT, handlers[1])
    assert capsys.readouterr().err == f"selfray: {said}; run the same command again to go on from there\n"


def test_the_load_command_is_one_line_that_a_shell_takes(tmp_path):
    where = f"sqlite:///{tmp_path}/it's a folder/mlflow.db"
    line = summary.load_command(where, "models:/it@candidate")
    assert "\n" not in line
    variable, python, flag, code = shlex.split(line)
    assert (variable, python, flag) == (f"MLFLOW_TRACKING_URI={where}", sys.executable, "-c")
    stub = tmp_path / "mlflow.py"
    stub.write_text("import os, types\npyfunc = types.SimpleNamespace(load_model=lambda u: print(os.environ['U'], u))")
    shell = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        ["bash", "-c", line.replace("MLFLOW_TRACKING_URI", "U", 1)],
        env=shell,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"{where} models:/it@candidate\n" and compile(code, "line", "exec")


def test_the_look_command_quotes_its_folder(tmp_path):
    root = tmp_path / "it's a folder"
    line = ui.how_to_open(parse(TREE), root).split("   then   ")[0]
    assert shlex.split(line) == ["selfray", "ui", "--set", f"storage={root}"]


def test_a_table_in_a_log_is_not_cut(tmp_path):
    script = (
        "from rich.table import Table; from pipelines.tracking.display import console\n"
        "t = Table(*['few_label_p10_top1'] * 12); t.add_row(*['x'] * 12); console.print(t)"
    )
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=plain, capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.splitlines()[1].count("few_label_p10_top1") == 12
