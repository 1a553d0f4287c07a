"""Forecasts from frozen features: what the task looks at, and that it can be right and wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.config.evaluate import EvaluateConfig, check_tasks
from pipelines.config.parse import parse
from pipelines.data import ingest
from pipelines.errors import UserError
from pipelines.evaluate import evaluate
from pipelines.evaluate.tasks import forecasting
from pipelines.evaluate.tasks.base import Outcome
from pipelines.evaluate.tasks.forecasting import Forecasting, Windows
from pipelines.stage import Nothing
from pipelines.storage import checkpoint
from pipelines.train.artifact import Checkpoint
from ssl_core.augment.image_eval import ImageEval
from ssl_core.augment.series_eval import SeriesEval
from ssl_core.build import build_method
from ssl_core.codecs._series.stored import SeriesValue
from ssl_core.evaluate._maths.ridge import PENALTIES, fit_ridge
from ssl_core.optimize.optimizers import build_optimizer
from tests.support.recipe import TREE

LENGTH, HORIZON = 32, 8


class Given:
    """What the task asks of an `Evaluated`, with series in memory."""

    def __init__(self, series: dict[str, np.ndarray], folder: Path):
        self.series, self.listing, self.folder = series, self, folder

    def num_rows(self, split: str) -> int:
        return len(self.series[split])


def windows_of(
    values: np.ndarray, monkeypatch: pytest.MonkeyPatch, folder: Path, chain: SeriesEval, **settings: Any
) -> Windows:
    """The task's windows of one split of series [N, W, C]."""
    given: Any = Given({"test": values}, folder)
    monkeypatch.setattr(forecasting, "_series", lambda g, split: enumerate(map(SeriesValue, g.series[split])))
    task = Forecasting(Forecasting.Config(horizons=(HORIZON,), **settings))
    return task._windows(given, chain, "test")


def chain(**settings: Any) -> SeriesEval:
    return SeriesEval(SeriesEval.Config(length=LENGTH, channels=2, window="center", **settings))


def drawn(count: int, rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (count, rows, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "scale", [{"normalize": "view"}, {"normalize": "none"}, {"normalize": "given", "mean": (3, 2), "std": (2, 1)}]
)
def test_context_and_future_are_neighbors_and_on_one_scale(
    scale: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = drawn(3, LENGTH + HORIZON + 5)
    found = windows_of(values, monkeypatch, tmp_path, chain(**scale), season=4)
    np.testing.assert_array_equal(found.future, values[:, -HORIZON:])
    np.testing.assert_array_equal(found.recent, values[:, -HORIZON - 4 : -HORIZON])
    seen = found.context.transpose(0, 2, 1) * found.spread[:, None] + found.level[:, None]  # [N, L, C]
    np.testing.assert_allclose(seen, values[:, -HORIZON - LENGTH : -HORIZON], rtol=1e-4, atol=1e-4)


def test_a_context_does_not_see_its_future(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = drawn(2, LENGTH + HORIZON)
    other = values.copy()
    other[:, -HORIZON:] += 100
    one, two = (windows_of(v, monkeypatch, tmp_path, chain(normalize="view")) for v in (values, other))
    np.testing.assert_array_equal(one.context, two.context)
    config = EvaluateConfig.model_validate({"tasks": [{"name": "forecasting"}]})
    with pytest.raises(ValueError, match="would show a context its future"):
        check_tasks(config, chain(normalize="series"))
    with pytest.raises(ValueError, match="forecasts are of time series"):
        check_tasks(config, ImageEval(ImageEval.Config(size=8)))


def test_windows_that_are_too_short_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need windows of 40 rows; sample 0 has 39: set source\.window"):
        windows_of(drawn(1, LENGTH + HORIZON - 1), monkeypatch, tmp_path, chain(normalize="view"))


def waves(count: int, seed: int) -> np.ndarray:
    """Sines of any phase and level, and a little noise: a linear map of their past knows their future."""
    draw = np.random.default_rng(seed)
    phase, level = draw.uniform(0, 6.28, (count, 1, 2)), draw.normal(0, 5, (count, 1, 2))
    time = np.arange(LENGTH + HORIZON)[None, :, None]
    return (level + np.sin(2 * np.pi * time / 16 + phase) + 0.01 * draw.normal(size=(count, 40, 2))).astype(np.float32)


def test_a_linear_map_of_the_values_forecasts_waves_and_the_naive_ones_less(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    series = {"train": waves(300, 0), "test": waves(100, 1)}
    given: Any = Given(series, tmp_path)
    given.config = type("Config", (), {"views": {"eval": chain(normalize="view").config}})
    given.subjects = [type("Subject", (), {"name": "raw_input"}), type("Subject", (), {"name": "encoder"})]
    monkeypatch.setattr(forecasting, "_series", lambda g, split: enumerate(map(SeriesValue, g.series[split])))
    blind = type("Network", (), {"build": lambda self, subject: _Blind()})()
    monkeypatch.setattr(forecasting.encode, "network", lambda config: blind)
    outcome = Outcome({"raw_input": {}, "encoder": {}})
    Forecasting(Forecasting.Config(horizons=(4, HORIZON), season=16)).measure(given, outcome)
    linear, none = (outcome.scores[name]["forecast_mse"] for name in ("raw_input", "encoder"))
    assert linear.value < 1e-3 and none.value > 0.01
    assert linear.per_sample is not None and len(linear.per_sample) == 100
    assert outcome.metrics["forecast/naive_mse_h8"] < 1e-3, "the season is the waves' own"
    assert outcome.metrics["forecast_mse"] == none.value and "naive: " in outcome.protocols["forecasting"]


class _Blind(torch.nn.Module):
    """An encoder that sees nothing."""

    def forward(self, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return view.new_zeros(len(view), 3), view.new_zeros(len(view), 2, 3)


def test_ridge_solves_the_normal_equations_with_the_penalty_that_the_last_rows_choose() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(500, 5, generator=draw), torch.randn(5, 2, generator=draw)
    (exact,) = fit_ridge(x, [x @ weight + 1])
    torch.testing.assert_close(exact(x), (x @ weight + 1).double(), rtol=1e-3, atol=1e-3)
    assert exact.penalty == min(PENALTIES), "nothing to gain from shrinking"
    few, wanted = torch.randn(40, 80, generator=draw), torch.randn(40, 1, generator=draw)
    other, found = fit_ridge(few, [wanted, few[:, :1] + 2 * wanted])
    centered, y = few.double() - few.double().mean(0), (few[:, :1] + 2 * wanted).double()
    covariance = centered.T @ centered / 40
    shrunk = covariance + found.penalty * covariance.diagonal().mean() * torch.eye(80)
    solved = torch.linalg.solve(shrunk, centered.T @ (y - y.mean(0)) / 40)
    torch.testing.assert_close(found.weight, solved, rtol=1e-4, atol=1e-6)
    assert not torch.equal(other.weight, found.weight)


@pytest.mark.usefixtures("ray_session")
def test_an_evaluation_without_labels_has_the_score_of_its_forecasts(tmp_path: Path) -> None:
    """From windows of one long recording to a report whose only score is an error: less is better."""
    time = np.arange(1200)[:, None]
    values = np.sin(2 * np.pi * time / 16 + np.array([0, 1])) + 0.1 * np.random.default_rng(0).normal(size=(1200, 2))
    lines = ["a,b", *(f"{a:.4f},{b:.4f}" for a, b in values)]
    (tmp_path / "long.csv").write_text("\n".join(lines) + "\n")
    shape = {"length": LENGTH, "channels": 2, "normalize": "view"}
    source = {"name": "series_csv", "path": str(tmp_path / "long.csv"), "window": 48, "stride": 8, "test_tail": 0.25}
    tree = {
        **TREE,
        "storage": str(tmp_path),
        "source": source,
        "views": {
            "global": {"name": "series_crop", **shape, "window": "length"},
            "eval": {"name": "series_eval", **shape, "window": "center"},
        },
        "encoder": {"name": "series_conv", "width": 4, "depth": 2},
    }
    tasks = [{"name": "forecasting", "horizons": [4, 8], "season": 16}]
    config = parse(tree, {"evaluate.tasks": tasks, "evaluate.resamples": 100, "evaluate.view_samples": 0})
    shards = ingest.run(config, Nothing(), tmp_path / "ingest" / "one")
    method = build_method(config.method, config.encoder, config.views)
    optimizer = build_optimizer(config.optim, method, 0.1)
    path = checkpoint.save(tmp_path / "pretrain" / "one" / "checkpoints", 12, method, optimizer, {"total": 12})
    given = Checkpoint(digest=checkpoint.digest(path), shards=shards, folder=path, step=12)
    folder = tmp_path / "evaluate" / "one"
    folder.mkdir(parents=True)
    made = evaluate.run(config, given, folder)
    scores = made.scores
    assert set(scores.encoder) == set(scores.raw_input) == set(scores.random_init) == {"forecast_mse"}
    assert scores.raw_input["forecast_mse"] < 0.1, "a linear map of the values knows a sine"
    low, high = scores.gains["forecast_mse"]
    gain = min(scores.raw_input["forecast_mse"], scores.random_init["forecast_mse"]) - scores.encoder["forecast_mse"]
    assert low <= gain <= high, "a smaller error is a gain"
    assert "forecast_mse" in (folder / "report" / "report.md").read_text() and "forecast_mse" in made.verdict
    assert "naive: " in scores.protocols["forecasting"] and not scores.per_class
