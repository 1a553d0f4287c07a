"""What a space refuses, before anything starts: one dotted line per mistake."""

import resource
from itertools import islice

import pytest

from pipelines.config.flat import fingerprint, flat
from pipelines.config.parse import load
from pipelines.config.run import RunConfig
from pipelines.config.tune import Range, TuneConfig
from pipelines.errors import UserError
from pipelines.train.pretrain import PRETRAIN
from pipelines.tuning import space
from pipelines.tuning.search import suggest

TEMPERATURE = {"method.temperature": {"loguniform": [0.05, 1.0]}}


def tuned(space_of: object, **tune: object) -> RunConfig:
    return load("digits", {"tune": {"space": space_of, **tune}})


def lines(build, *args, **kwargs) -> list[str]:
    with pytest.raises(UserError) as error:
        build(*args, **kwargs)
    return [line.strip() for line in str(error.value).splitlines()[1:]] or [str(error.value)]


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({}, "tune.space: is empty; name the keys to search"),
        ({"optim.lr": {}}, "tune.space.optim.lr: give one of choice"),
        ({"optim.lr": 0.1}, "tune.space.optim.lr: "),
        ({"optim.lr": {"log": [1, 2]}}, "tune.space.optim.lr.log: unknown key; it takes choice, uniform"),
        ({"optim.lr": {"choice": [1], "uniform": [0, 1]}}, "tune.space.optim.lr: give one of choice"),
        ({"optim.lr": {"choice": [0.1]}}, "tune.space.optim.lr: holds one value only (0.1)"),
        ({"optim.lr": {"choice": [0.1, 0.2, 0.1]}}, "tune.space.optim.lr: choice names 0.1 twice"),
        ({"optim.lr": {"uniform": [0.1, 0.1]}}, "tune.space.optim.lr: holds one value only (0.1)"),
        ({"optim.lr": {"uniform": [0.2, 0.1]}}, "tune.space.optim.lr: uniform [0.2, 0.1]: the first end"),
        ({"optim.lr": {"loguniform": [0, 0.1]}}, "tune.space.optim.lr: loguniform [0.0, 0.1]: both ends must be above"),
        ({"optim.lr": {"uniform": [0.1]}}, "tune.space.optim.lr.uniform"),
        ({"train.epochs": {"int": [4, 4]}}, "tune.space.train.epochs: holds one value only (4)"),
        (
            {"method": {"choice": [{"name": "simclr"}, {"name": "mae"}]}, **TEMPERATURE},
            "tune.space: method and method.temperature overlap",
        ),
    ],
)
def test_a_range_that_is_none(bad, line):
    assert any(found.startswith(line) for found in lines(tuned, bad)), lines(tuned, bad)


def test_all_mistakes_come_at_once():
    found = lines(tuned, {"optim.lr": {"choice": [1]}, "method.temperature": {"uniform": [2, 1]}}, grace=2)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"metric": "test_knn_top1"},
            "tune.metric: 'test_knn_top1' is a score on the test split, which chooses nothing",
        ),
        ({"metric": "knn_top1_k200"}, "tune.metric: 'knn_top1_k200' is a score on the test split"),
        ({"metric": "rankmee"}, "tune.metric: there is no 'rankmee'; did you mean 'rankme'?"),
        ({"metric": "accuracy!"}, "tune.metric: there is no 'accuracy!'; take knn_top1"),
        ({"searcher": "grid"}, "tune: searcher grid needs choice or int, not method.temperature"),
        ({"searcher": "hyperband"}, "tune.searcher: "),
        (
            {"scheduler": "pbt"},
            "tune.scheduler: population based training copies checkpoints that Ray Tune keeps from trial to trial; "
            "trials on Ray Train V2 give Tune none, so it would copy nothing; take asha or none",
        ),
        ({"scheduler": "ashaa"}, "tune.scheduler: Input should be 'asha' or 'none'"),
        ({"grace": 0.01}, "tune: grace 0.01 is before the first of 9 looks"),
        ({"reduction": 1}, "tune.reduction: "),
        ({"holdout": 0.9}, "tune.holdout: "),
        ({"num_trials": 0}, "tune.num_trials: "),
        ({"num_trails": 3}, "tune.num_trails: unknown key; did you mean 'num_trials'?"),
    ],
)
def test_settings_that_are_refused(settings, line):
    assert any(found.startswith(line) for found in lines(tuned, TEMPERATURE, **settings))


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"method.temprature": {"uniform": [0.1, 1]}}, "tune.space.method.temprature: unknown key; did you mean"),
        ({"metod.temperature": {"uniform": [0.1, 1]}}, "tune.space.metod: unknown key; did you mean 'method'?"),
        (
            {"method.temperature": {"uniform": [-1, 1]}},
            "tune.space.method.temperature: -1.0 does not fit: Input should",
        ),
        ({"optim.warmup_fraction": {"uniform": [0, 2]}}, "tune.space.optim.warmup_fraction: 2.0 does not fit"),
        ({"views.global.crop_min": {"uniform": [0.1, 3]}}, "tune.space.views.global.crop_min: 3.0 does not fit"),
        (
            {"encoder": {"choice": [{"name": "convnet"}, {"name": "renset"}]}},
            "tune.space.encoder: {'name': 'renset'} does not fit: there is no 'renset'",
        ),
        (
            {"method.name": {"choice": ["simclr", "mae"]}},
            "tune.space.method.name: 'mae' does not fit: method.hidden_dim",
        ),
        (
            {"train.epochs": {"uniform": [4, 8]}},
            "tune.space.train.epochs: 5.27323954 does not fit: Input should be a valid integer, got a number with a "
            "fractional part; whole numbers take int: [a, b]",
        ),
        ({"storage": {"choice": ["a", "b"]}}, "tune.space.storage: does not decide what is trained"),
        ({"train.num_workers": {"int": [1, 2]}}, "tune.space.train.num_workers: does not decide what is trained"),
        ({"evaluate.map_samples": {"int": [10, 20]}}, "tune.space.evaluate.map_samples: does not decide"),
    ],
)
def test_values_that_the_recipe_does_not_take(bad, line):
    found = lines(space.check, tuned(bad), PRETRAIN.decides)
    assert any(each.startswith(line) for each in found), found


def test_a_sound_space_passes_and_whole_sections_can_be_searched():
    sound = {**TEMPERATURE, "encoder": {"choice": [{"name": "convnet"}, {"name": "resnet", "width": 8}]}}
    space.check(tuned({**sound, "train.epochs": {"int": [2, 9]}}), PRETRAIN.decides)


def test_without_a_section_it_says_what_to_write():
    with pytest.raises(UserError, match="tune: the recipe has no such section"):
        space.section(load("digits"))


def test_what_the_recipe_leaves_out_stays_left_out():
    written = space.tree(tuned(TEMPERATURE))
    assert "tune" not in written and "ray" not in written and "grad_clip" not in written["optim"]


def test_params_name_each_range():
    named = flat(tuned({**TEMPERATURE, "optim.lr": {"choice": [0.1, 0.2]}}))
    assert named["tune.space.method.temperature.loguniform"] == [0.05, 1.0]
    assert named["tune.space.optim.lr.choice"] == [0.1, 0.2]


@pytest.mark.parametrize(
    "values",
    [
        Range(choice=("a", "b", "c")),
        Range(int=(-3, 4)),
        Range(uniform=(-1.0, 2.0)),
        Range(loguniform=(1e-4, 10.0)),
    ],
)
def test_at_and_place_are_inverse_and_stay_inside(values):
    for u in (0.0, 0.2, 0.5, 0.999999):
        value = space.at(values, u)
        assert 0 <= space.place(values, value) <= 1
        assert values.values is None or value in values.values
        assert values.values is not None or space.place(values, value) == pytest.approx(u, abs=1e-3)
    assert [space.place(values, end) for end in (values.ends[0], values.ends[-1])] == [0, 1]


def test_a_grid_is_every_config_once():
    small = {"a": Range(choice=(1, 2)), "b": Range(int=(0, 2))}
    whole = [{"a": a, "b": b} for a in (1, 2) for b in (0, 1, 2)]
    assert [space.point(small, index) for index in range(6)] == whole and space.num_points(small) == 6
    made = list(space.grid(small, key=3))
    assert sorted(made, key=whole.index) == whole
    assert made == list(space.grid(small, key=3)) and made != list(space.grid(small, key=4))


def test_a_huge_space_is_never_written_out():
    huge = {"a": Range(int=(0, 2_000_000_000)), "b": Range(int=(1, 10**18))}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB
    assert space.num_points(huge) == 2_000_000_001 * 10**18
    first = list(islice(space.grid(huge, key=1), 50))
    assert len({tuple(changes.values()) for changes in first}) == 50
    assert all(0 <= c["a"] <= 2_000_000_000 and 1 <= c["b"] <= 10**18 for c in first)
    assert max(c["a"] for c in first) > 1_000_000_000 > min(c["a"] for c in first), "not from one end of it"
    config = tuned({"optim.warmup_fraction": {"uniform": [0, 1]}, "train.epochs": {"int": [1, 2_000_000_000]}})
    space.check(config, PRETRAIN.decides)
    for searcher in ("random", "optuna", "grid"):
        tune = TuneConfig(space={"train.epochs": Range(int=(1, 2_000_000_000))}, searcher=searcher)
        assert suggest(tune, 0, [], fingerprint) is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
