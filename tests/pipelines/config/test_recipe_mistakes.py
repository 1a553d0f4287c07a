"""Slips of a recipe, of `--set` and of a path: one line that names the key or the file and says what to do."""

import os
from pathlib import Path

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.config import plain_yaml, recipe_file
from pipelines.config.parse import load, load_keys, parse
from pipelines.errors import UserError
from pipelines.tuning import space
from tests.support.recipe import TREE

DIGITS = recipe_file.shipped()["digits"]
TUNED = {**TREE, "tune": {"space": {"optim.lr": {"loguniform": [0.001, 0.1]}}}}
FOLDER = {**TREE, "source": {"name": "image_folder", "path": "pictures"}}


def mistakes(changes: dict[str, object], tree: dict[str, object] = TREE) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse(tree, changes)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", ["./recpies/digits.yaml", "no/such/place/digits.yaml", "digits.yaml"])
def test_a_wrong_path_does_not_become_the_shipped_recipe_of_its_name(here, path):
    with pytest.raises(UserError, match=r"no such file; did you mean the shipped recipe 'digits'\?"):
        load(path)


def test_a_recipe_of_nearly_that_name_is_suggested(here):
    with pytest.raises(UserError, match="recipe digts: no such file; did you mean the shipped recipe 'digits'"):
        load("digts")
    with pytest.raises(UserError, match="did you mean the shipped recipe 'digits'"):
        load("DIGITS")
    (here / "mine.yaml").write_text(DIGITS.read_text())
    with pytest.raises(UserError, match=r"recipe min\.yaml: no such file; did you mean mine\.yaml\?"):
        load("min.yaml")
    with pytest.raises(UserError, match=r"recipe xyzzy: no such file; `selfray list` shows what ships: .*digits"):
        load("xyzzy")


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_recipe(here):
    (here / "digits").mkdir()
    assert load_keys("digits").name == "digits-simclr"
    (here / "folder").mkdir()
    with pytest.raises(UserError, match="recipe folder: is a folder; give a YAML file"):
        load_keys("folder")


@pytest.mark.parametrize("data", [DIGITS.read_text().encode("utf-16"), bytes(range(256)), os.urandom(400) + b"\xff"])
def test_a_file_that_is_not_utf8_is_named(here, data):
    (here / "odd.yaml").write_bytes(data)
    with pytest.raises(UserError, match=r"recipe odd\.yaml: is not text in UTF-8; save it as UTF-8"):
        load("odd.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nname: x\nseed: 2\n", "line 3: key `seed` twice"),
        ("train: {epochs: 3}\na: 1\ntrain:\n  steps: 2\n", "line 3: key `train` twice"),
        ("a:\n- {b: 1, b: 2}\n", "line 2: key `b` twice"),
        ("{a: 1", "not valid YAML: while parsing a flow mapping, expected ',' or '}', but got '<stream end>' (line 1)"),
    ],
)
def test_yaml_with_a_key_twice_or_a_bracket_missing_says_where(text, words):
    with pytest.raises(plain_yaml.NotPlain) as caught:
        plain_yaml.load(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_key_twice_is_not():
    assert plain_yaml.load("a: {k: 1}\nb: {k: 2}\n") == {"a": {"k": 1}, "b": {"k": 2}}
    assert plain_yaml.load("x: &x {k: 1}\ny: {<<: *x, k: 2}\n")["y"] == {"k": 2}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"optim.lr": True}, "optim.lr: takes a number, not true"),
        ({"train.epochs": False, "train.steps": None}, "train.epochs: takes a number, not false"),
        ({"optim.betas": [0.9, True]}, "optim.betas.1: takes a number, not true"),
        ({"evaluate.probes": [{"name": "knn", "k": [True]}]}, "evaluate.probes.0.k.0: takes a number, not true"),
        ({"review.gates.min_scores": {"a": True}}, "review.gates.min_scores.a: takes a number, not true"),
        ({"seed": 2**63}, "seed: takes numbers below 2^63"),
        ({"seed": str(10**23)}, "seed: takes numbers below 2^63"),
        ({"encoder.width": 10**23}, "encoder.width: takes numbers below 2^63"),
        ({"evaluate.probes": [{"name": "knn", "k": [10**20]}]}, "evaluate.probes.0.k: takes numbers below 2^63"),
        ({"storage": "s3://bucket/x"}, "storage: is a path in the file system, not a URL (s3://...); mount it and give "
         "the folder"),
        ({"storage": None}, "storage: takes a path, not null"),
        ({"storage": 5}, "storage: takes a path, not 5"),
        ({"train": 3}, "train: takes keys of its own (epochs, steps, global_batch_size, num_workers, min_workers, "
         "parallel, device, precision, accumulate, compile, threads, log_every, checkpoint_seconds, monitor_every, "
         "monitor_samples, max_failures), not 3"),
        ({"views": [1]}, "views: takes keys and values, e.g. {a: 1}, not list"),
        ({"optim.betas": 0.9}, "optim.betas: takes a list, e.g. [a, b], not 0.9"),
        ({"train.epochs": 3}, "train: give either epochs or steps, not both; set the other to null, e.g. --set "
         "train.epochs=null"),
        ({"train.steps": None}, "train: give either epochs or steps"),
        ({"evaluate.suite": "ful"}, "evaluate.suite: Input should be 'quick' or 'full'"),
        ({"evaluate.batch_size": 0}, "evaluate.batch_size: Input should be greater than 0"),
        ({"evaluate.headline": "foo"}, "evaluate.headline: nothing measured gives 'foo'; it can be one of "
         "knn_top1_k20, knn_top1_k200, linear_top1, linear_macro_f1, few_label_n1_top1, few_label_n1_top1_std, "
         "few_label_n5_top1, few_label_n5_top1_std, few_label_n10_top1, few_label_n10_top1_std, few_label_p1_top1, "
         "few_label_p1_top1_std, few_label_p10_top1, few_label_p10_top1_std"),
        ({"evaluate.headline": "linear_top"}, "evaluate.headline: nothing measured gives 'linear_top'; did you mean "
         "'linear_top1'?"),
        ({"encoder.width": 2**40}, "encoder and method cannot be built: Storage size calculation overflowed with "
         "sizes=[2199023255552, 1099511627776, 3, 3]"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line(changes, line):
    assert mistakes(changes) == [line]


@pytest.mark.parametrize("value", [5, None, ["a"], 1.5])
@pytest.mark.parametrize("key", ["source", "method", "encoder", "views.eval"])
def test_a_component_named_by_no_text_is_one_that_does_not_exist(key, value):
    assert any(f"{key}: there is no '{value}' in " in line for line in mistakes({f"{key}.name": value}))


def test_booleans_and_texts_stay_where_they_belong():
    made = parse(TREE, {"train.compile": True, "optim.lr": "3e-4", "seed": 2**63 - 1, "evaluate.leaks": False})
    assert made.train.compile is True and made.optim.lr == 3e-4 and made.seed == 2**63 - 1


def test_a_url_is_no_path_of_a_source():
    for key in ("path", "test_path"):
        (line,) = mistakes({f"source.{key}": "s3://bucket/pictures"}, FOLDER)
        assert line.startswith(f"source.{key}: is a path in the file system, not a URL (s3://...)")


def test_extensions_may_lack_their_dot():
    made = parse(FOLDER, {"source.extensions": ["jpg", ".png"]})
    assert made.source.model_dump()["extensions"] == (".jpg", ".png")
    (line,) = mistakes({"source.extensions": "jpg"}, FOLDER)
    assert line == "source.extensions: takes a list, e.g. [a, b], not 'jpg'"


@pytest.mark.parametrize("extra", [{"robustness": {}}, {"suite": "full"}])
def test_the_headline_may_be_of_a_task(extra):
    made = parse(TREE, {"evaluate": {**extra, "headline": "robust_top1"}})
    assert made.evaluate.headline == "robust_top1"
    assert parse(TREE, {"evaluate": {"fine_tune": {}, "headline": "fine_tune_top1"}})
    assert mistakes({"evaluate.headline": "fine_tune_top1"})


def test_a_list_is_no_range_of_a_campaign():
    (line,) = mistakes({"tune.space": {"method.temperature": [0.1, 0.2]}}, TUNED)
    assert line.startswith("tune.space.method.temperature: is a list; write {choice: [0.1, 0.2]}")


def test_a_campaign_does_not_search_the_seed():
    config = parse(TUNED, {"tune.space": {"seed": {"choice": [1, 2, 3]}}})
    with pytest.raises(UserError, match=r"tune\.space\.seed: the best seed is the luckiest.*tune\.confirm\.seeds"):
        space.check(config, lambda key: True)


def test_a_set_value_that_is_no_yaml_is_said(capsys):
    with pytest.raises(SystemExit):
        main(["show", "digits", "--set", "method={name: simclr"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--set method={name: simclr: not valid YAML: while parsing a flow mapping" in said
    assert main(["show", "digits", "--set", "tracking.uri=${env:X}", "--set", "storage=a b/c"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["tracking"]["uri"], shown["storage"]) == ("${env:X}", "a b/c")


def test_a_key_that_takes_a_number_or_a_list_is_named_as_the_recipe_names_it():
    assert mistakes({"evaluate.layer": "last"}) == [
        "evaluate.layer: Input should be a valid integer, unable to parse string as an integer",
        "evaluate.layer: takes a list, e.g. [a, b], not 'last'",
    ]


def test_no_probe_and_no_task_is_refused():
    assert mistakes({"evaluate.probes": []}) == [
        "evaluate.probes: is empty and no task is asked for, so nothing would be scored; name one"
    ]
