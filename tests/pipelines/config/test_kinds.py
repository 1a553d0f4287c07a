"""Methods whose views depend on their config, or are of several sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch

import ssl_core.methods
from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.stream import training_chains
from pipelines.errors import UserError
from pipelines.storage import outbox
from pipelines.train.loop import train
from pipelines.train.worker import Worker
from pipelines.tuning.trials.trial import looked_at
from ssl_core.build import build_method
from ssl_core.types import Batch, Progress
from tests.support.loop import EXACT, order_of
from tests.support.recipe import TREE
from tests.support.tiny import tiny_batch, tiny_method

SIZES = {"global": 8, "local": 4}
VIEWS = {kind: {"name": "image_crop", "size": size} for kind, size in SIZES.items()}


@pytest.fixture(autouse=True)
def _more_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of tests/support/methods are found beside our own."""
    more = Path(__file__).parents[2] / "support" / "methods"
    monkeypatch.setattr(ssl_core.methods, "__path__", [*ssl_core.methods.__path__, str(more)])


def _config(method: dict[str, object], changes: dict[str, object] | None = None) -> RunConfig:
    tree = {**TREE, "method": method, "views": {**VIEWS, "eval": TREE["views"]["eval"]}}
    return parse(tree, EXACT | (changes or {}))


@pytest.mark.parametrize("num_local", [1, 3])
def test_the_config_says_how_many_views_are_read_and_trained_on(tmp_path: Path, num_local: int) -> None:
    config = _config({"name": "multi_crop", "num_local": num_local})
    kinds = ("global", "global", *("local",) * num_local)
    assert [chain.size for chain in training_chains(config)] == [SIZES[kind] for kind in kinds]

    def batches(start: int, stop: int):
        for step in range(start, stop):
            draw, ids = np.random.default_rng(step), np.arange(step * 16, (step + 1) * 16)
            shapes = [(16, SIZES[kind], SIZES[kind], 3) for kind in kinds]
            views = {f"view{i}": draw.integers(0, 256, shape, dtype=np.uint8) for i, shape in enumerate(shapes)}
            yield {"sample_id": ids, "planned_id": ids, **views}

    assert train(config, Worker(0, 1, torch.device("cpu"), tmp_path), order_of(config), batches) == 12
    points = list(outbox.read(tmp_path))
    assert points and all(point.metrics["views"] == 2 + num_local for point in points)


def test_tests_of_methods_follow_the_config() -> None:
    method = tiny_method("multi_crop")
    assert len(tiny_batch(method).views) == 5


def test_views_of_two_sizes_in_one_pass_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        _config({"name": "one_pass"})
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip() == (
        "method one_pass reads views of one shape: views.global gives channel 3 x height 8 x width 8, "
        "views.local gives channel 3 x height 4 x width 4, views.eval gives channel 3 x height 8 x width 8"
    )


def _vit(patch_size: int) -> dict[str, object]:
    return {"encoder": {"name": "vit", "dim": 16, "depth": 1, "heads": 2, "patch_size": patch_size}}


def test_a_transformer_on_patches_reads_crops_of_two_sizes() -> None:
    config = _config({"name": "multi_crop"}, _vit(2))
    method = build_method(config.method, config.encoder, config.views)
    views = tuple(torch.randn(2, 3, SIZES[kind], SIZES[kind]) for kind in type(method).kinds(config.method))
    assert method(Batch(views, torch.arange(2)), Progress(0, 1)).loss.isfinite()


def test_a_patch_that_divides_one_crop_and_not_the_other_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        _config({"name": "multi_crop"}, _vit(8))
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip() == "views.local: encoder.patch_size: 8 does not divide the view size 4"


def test_an_encoder_of_one_size_is_refused_for_views_of_two() -> None:
    sizes = {"views.global.size": 64, "views.eval.size": 64, "views.local.size": 32}
    with pytest.raises(UserError) as caught:
        _config({"name": "multi_crop"}, {"encoder": {"name": "torchvision", "model": "vit_b_32"}, **sizes})
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip() == (
        "views.local: encoder torchvision, built for views of channel 3 x height 64 x width 64, cannot read those of "
        "channel 3 x height 32 x width 32"
    )


def test_local_crops_larger_than_global_ones_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        _config({"name": "multi_crop"}, {"views.local.size": 16})
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip() == (
        "views.local: channel 3 x height 16 x width 16 is larger than views.global, channel 3 x height 8 x width 8; "
        "lower views.local.size"
    )


def test_a_kind_that_this_config_does_not_read_is_refused() -> None:
    with pytest.raises(UserError, match="views needs local: method multi_crop reads global, global, local"):
        parse({**TREE, "method": {"name": "multi_crop", "num_local": 1}})


class _Recipe:
    def __init__(self, config: RunConfig):
        self._config = config

    def config(self, changes: dict[str, object]) -> RunConfig:
        return self._config


def test_a_trial_whose_large_crops_have_another_size_is_looked_at_in_its_own_views() -> None:
    """Also where its evaluation view has the recipe's."""
    recipe, method = _config({"name": "multi_crop"}), {"name": "multi_crop"}
    same, other = (_config(method, {"views.global.size": size}) for size in (8, 12))
    assert looked_at(same, _Recipe(recipe)) == recipe.views  # type: ignore[arg-type]
    assert looked_at(other, _Recipe(recipe)) == other.views  # type: ignore[arg-type]
