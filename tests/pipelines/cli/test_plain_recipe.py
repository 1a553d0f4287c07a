"""The recipe that is chosen for plain data: printed, kept in the storage, saved, and reused with its budget; no Ray."""

import time

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.cli import plain, stages
from pipelines.config.parse import checked, load
from pipelines.data.recognize import kept
from pipelines.errors import UserError
from tests.support.plain_data import pictures


class Options:
    """What the command line gives `config_of`."""

    def __init__(self, recipe, save=None, budget=None, **changes):
        self.recipe, self.save, self.budget, self.set = str(recipe), save, budget, changes


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return pictures(tmp_path / "cats")


def printed_yaml(out: str) -> dict:
    lines = out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("name:"))
    return yaml.safe_load("\n".join(lines[begin : next(i for i, x in enumerate(lines) if x.startswith("kept:"))]))


def test_what_is_printed_saved_and_kept_is_the_config_that_runs(here, tmp_path, capsys):
    config = plain.config_of(Options("cats", save=tmp_path / "mine.yaml", **{"optim.lr": 0.003}))
    assert config.optim.lr == 0.003 and config.name == "cats"
    assert checked(printed_yaml(capsys.readouterr().out)) == config
    assert load(tmp_path / "mine.yaml") == load(tmp_path / "selfray-runs/recipes/cats.yaml") == config
    assert (tmp_path / "mine.yaml").read_text().startswith("# recognized: 40 images in 2 class folders")
    assert plain.config_of(Options("cats", save=tmp_path / "mine.yaml", **{"optim.lr": 0.003})) == config


def test_save_does_not_overwrite_what_differs(here, tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    with pytest.raises(UserError, match=r"--save: .*mine\.yaml is there and differs"):
        plain.config_of(Options("cats", save=tmp_path / "mine.yaml"))
    assert (tmp_path / "mine.yaml").read_text() == "name: mine\n"


def test_two_folders_of_one_name_are_told_apart(here, tmp_path):
    plain.config_of(Options("cats"))
    pictures(tmp_path / "other" / "cats")
    with pytest.raises(UserError, match=r"name: 'cats' is taken in this storage by /.*/cats .*--set name=ANOTHER_NAME"):
        plain.config_of(Options("other/cats"))
    assert plain.config_of(Options("other/cats", name="cats-2")).name == "cats-2"
    assert plain.config_of(Options("cats")).name == "cats"


def test_a_password_is_not_kept(here, tmp_path):
    config = plain.config_of(Options("cats", **{"tracking.uri": "http://me:secret-word@host:5000"}))
    assert "secret-word" in (config.tracking.uri or "")
    assert "secret-word" not in (tmp_path / "selfray-runs/recipes/cats.yaml").read_text()


def test_a_budget_is_reused_for_the_same_data_and_keys_only(here, tmp_path, monkeypatch, capsys):
    asked = []

    def fit(tree, budget_s, root, began, fixed):
        asked.append((budget_s, fixed))
        return {"train.steps": 77, "encoder.width": 8}, "77 steps"

    monkeypatch.setattr("pipelines.cli.budget.fit", fit)  # a rehearsal takes Ray: tests/pipelines/cli/test_run_path.py
    first = plain.config_of(Options("cats", budget="2m"))
    assert (first.train.steps, first.train.epochs, first.encoder.width) == (77, None, 8)
    capsys.readouterr()
    assert plain.config_of(Options("cats", budget="120s")) == first and asked == [(120, False)]
    assert "cats-120s.yaml is reused; delete it to rehearse again" in capsys.readouterr().out
    assert load("selfray-runs/recipes/cats-120s.yaml") == first
    plain.config_of(Options("cats"))  # without a budget: another file
    assert plain.config_of(Options("cats", budget="2m")) == first and len(asked) == 1
    plain.config_of(Options("cats", budget="3m"))
    plain.config_of(Options("cats", budget="2m", seed=3))
    plain.config_of(Options("cats", budget="2m", **{"encoder.width": 16}))
    pictures(tmp_path / "cats", 200)  # more of them take other epochs and batches
    plain.config_of(Options("cats", budget="2m"))
    assert asked == [(120, False), (180, False), (120, False), (120, True), (120, False)]


def test_mistakes_are_one_line_before_anything_heavy(here, tmp_path, capsys):
    lines = {
        ("run", "digits", "--budget", "2m"): "--budget: is for a folder or file of data in place of a recipe",
        ("run", "digits", "--save", "x.yaml"): "--save: is for a folder or file of data",
        ("run", "./cats", "--budget", "soon"): "--budget: 'soon': write a time such as 90s",
        ("run", "./cats", "--budget", "2m", "--set", "train.steps=5"): "--set train.steps: --budget chooses the steps",
        ("run", "cat"): "recipe cat: no such file",
        ("run", "./cats", "--set", "optim.lrr=3"): "optim.lrr: unknown key; did you mean 'lr'?",
    }
    for line, words in lines.items():
        began = time.monotonic()
        assert main(list(line)) == 1
        assert words in capsys.readouterr().err and time.monotonic() - began < 5
    assert not (tmp_path / "selfray-runs").exists()


def test_a_recipe_s_name_wins_over_a_folder(here, tmp_path, monkeypatch):
    pictures(tmp_path / "digits")
    assert plain.config_of(Options("digits")).source.name == "digits"
    assert plain.config_of(Options("./digits")).source.name == "image_folder"


def test_all_verbs_of_the_line_take_a_path(here):
    from pipelines.__main__ import _parser

    for verb in (*stages.STAGES, "submit"):
        assert _parser().parse_args([verb, "cats", "--save", "x.yaml"]).recipe == "cats"
    with pytest.raises(SystemExit):
        _parser().parse_args(["submit", "cats", "--budget", "2m"])


def test_yaml_of_a_recipe_keeps_what_looks_like_something_else(tmp_path):
    tree = {"name": "1e3", "source": {"name": "image_folder", "path": "/a: b/# c\n"}}
    path = tmp_path / "x.yaml"
    path.write_text(kept.text_of(tree, ["one\nname: two"]))
    assert kept.read_tree(path) == tree
