"""Forecasts of time series from frozen features, beside linear and naive ones.

A sample is a window: its last rows, as many as the longest horizon, are the future; the rows before them, as many as
the eval view is long, the context that the encoder sees. A ridge regression maps the context's features to the future,
one per horizon: one map for all channels where there are features of each (the values themselves; an encoder with a
token per channel), else one map of all features. Needs no labels.

Shapes: N windows, C channels, L steps of the context, H of a horizon, R rows of the regression per window (C, or 1 for
all channels at once), F features.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from pipelines.config import codecs
from pipelines.data.sources.base import Split
from pipelines.errors import UserError
from pipelines.evaluate.features import encode
from pipelines.evaluate.tasks.base import Evaluated, EvaluationTask, Outcome
from pipelines.storage import outbox, parquet
from ssl_core.augment._series.base import SeriesAugmentation
from ssl_core.augment.base import Augmentation
from ssl_core.build import build_chain, build_codec
from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.evaluate._maths.ridge import fit_ridge
from ssl_core.evaluate.base import Score

SCORE = "forecast_mse"
MOST_FEATURES = 8192
"""Of one context; the regression takes their square in memory."""
BATCH = 256


class Forecasting(EvaluationTask):
    """Squared error of forecasts by a linear map of frozen features, mean over horizons; time series only."""

    score = SCORE

    class Config(NamedConfig):
        name: Literal["forecasting"] = "forecasting"
        horizons: tuple[PositiveInt, ...] = (24, 48, 96)
        """Rows ahead; each is forecast as a whole, from the same context."""
        season: PositiveInt | None = None
        """Rows of a season: the naive forecast repeats the last one; null: it repeats the last row."""
        reads: Literal["tokens", "last", "pooled"] = "tokens"
        """Features of a context: all its tokens side by side, the last one, or the pooled vector."""
        max_windows: PositiveInt = 20_000
        """Of each split, spread evenly over it."""

    def __init__(self, config: Config):
        self.config = config

    @property
    def protocol(self) -> str:
        settings = self.config
        return (
            f"forecasting v1: ridge regression of frozen {settings.reads} features, penalty chosen on the last fifth "
            f"of train, horizons {', '.join(map(str, settings.horizons))} rows; squared error in units of train's "
            "deviation per channel, mean over channels, rows and horizons"
        )

    def check(self, chain: Augmentation) -> None:
        if not isinstance(chain, SeriesAugmentation):
            raise ValueError(f"forecasts are of time series; the views are {chain.spec}")
        if chain.normalize == "series":
            raise ValueError("views.eval.normalize: series would show a context its future; take view or given")

    def measure(self, given: Evaluated, outcome: Outcome) -> None:
        chain = build_chain(given.config.views["eval"])
        assert isinstance(chain, SeriesAugmentation)
        windows = {split: self._windows(given, chain, split) for split in ("train", "test")}
        known = windows["train"].future
        unit = np.nanstd(known.reshape(-1, known.shape[2]), axis=0)  # [C]
        unit = np.where(unit > 0, unit, 1.0)
        naive = self._naive(windows["test"], unit)
        for horizon, error in naive.items():
            outcome.metrics[f"forecast/naive_mse_h{horizon}"] = error
        shown = ", ".join(f"{error:.3f} at {horizon}" for horizon, error in naive.items())
        outbox.note(given.folder, f"forecasting: {len(windows['train'].context):,} windows; naive error {shown}")
        network = encode.network(given.config)
        for subject in given.subjects:
            encoder = None if subject.name == "raw_input" else network.build(subject)
            features = {split: self._features(found, chain, encoder) for split, found in windows.items()}
            squared, absolute = _errors(features, windows, self.config.horizons, unit)  # [N] of each horizon
            if subject.name == "encoder":
                for kind, errors in (("mse", squared), ("mae", absolute)):
                    for horizon, each in zip(self.config.horizons, errors, strict=True):
                        outcome.metrics[f"forecast/{kind}_h{horizon}"] = float(each.nanmean())
            mean = torch.stack(squared).nanmean(0)  # [N]
            outcome.scores[subject.name][SCORE] = Score(float(mean.mean()), mean)
        outcome.metrics[SCORE] = outcome.scores["encoder"][SCORE].value
        outcome.sample_id[SCORE] = windows["test"].sample_id
        outcome.protocols["forecasting"] = f"{self.protocol}; naive: {shown}"

    def _windows(self, given: Evaluated, chain: SeriesAugmentation, split: Split) -> "Windows":
        """
        Raises:
            UserError: a window is shorter than context and longest horizon, or none has a whole future.
        """
        longest, length = max(self.config.horizons), chain.spec.shape[1]
        every = max(1, -(-given.listing.num_rows(split) // self.config.max_windows))
        season = self.config.season or 1
        ids, contexts, recents, futures, levels, spreads = [], [], [], [], [], []
        for place, (sample_id, value) in enumerate(_series(given, split)):
            if place % every:
                continue
            rows = len(value.values)
            if rows < length + longest:
                raise UserError(
                    f"evaluate.tasks.forecasting.horizons: {longest} rows ahead of a context of {length} need windows "
                    f"of {length + longest} rows; sample {sample_id} has {rows}: set source.window, or shorter horizons"
                )
            start = rows - longest - length
            seen = value.values[start : start + length]
            level, spread = chain.scale_of(seen)
            ids.append(sample_id)
            contexts.append(chain.cut(value, start, start + length).T)
            recents.append(seen[-season:])
            futures.append(value.values[start + length :])
            levels.append(level)
            spreads.append(spread)
        if not ids or np.isnan(np.stack(futures)).any(axis=(1, 2)).all():
            raise UserError(f"evaluate.tasks.forecasting: no window of {split} has a future without missing values")
        found = (np.stack(part).astype(np.float32) for part in (contexts, recents, futures, levels, spreads))
        return Windows(torch.tensor(ids), *found)

    def _naive(self, windows: "Windows", unit: NDArray[Any]) -> dict[int, float]:
        """Horizon -> error of repeating the last season, or the last row."""
        found = {}
        for horizon in self.config.horizons:
            forecast = windows.recent[:, np.arange(horizon) % windows.recent.shape[1]]  # [N, H, C]
            error = (forecast - windows.future[:, :horizon]) / unit
            found[horizon] = float(np.nanmean(error**2))
        return found

    @torch.no_grad()
    def _features(self, windows: "Windows", chain: SeriesAugmentation, encoder: Encoder | None) -> Tensor:
        """[N, R, F] of the contexts; without an encoder their values."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        made = []
        encoder = encoder and encoder.to(device)
        for part in torch.from_numpy(windows.context).split(BATCH):
            view = chain.finish(part.to(device))  # [B, C, L]
            features = view if encoder is None else self._read(encoder, view)  # [B, R, F]
            if features.shape[2] > MOST_FEATURES:
                raise UserError(
                    f"evaluate.tasks.forecasting.reads: {features.shape[2]} features of a context are more than "
                    f"{MOST_FEATURES}; take reads: last, or shorter views"
                )
            made.append(features.float().cpu())
        return torch.cat(made)

    def _read(self, encoder: Encoder, view: Tensor) -> Tensor:
        """[B, C, L] -> [B, R, F]."""
        pooled, tokens = encoder(view)
        if self.config.reads == "pooled":
            return pooled[:, None]
        grid = getattr(encoder, "grid", tokens.shape[1:2])
        apart = tokens.unflatten(1, grid) if len(grid) == 2 else tokens[:, None]  # [B, R, steps, D]
        return apart[:, :, -1] if self.config.reads == "last" else apart.flatten(2)


@dataclass(frozen=True)
class Windows:
    """Those of one split."""

    sample_id: Tensor
    context: NDArray[np.float32]
    """[N, C, L] views."""
    recent: NDArray[np.float32]
    """[N, season, C] the context's last season, values as stored; NaN: missing."""
    future: NDArray[np.float32]
    """[N, H, C] values as stored, H the longest horizon; NaN: missing."""
    level: NDArray[np.float32]
    """[N, C] what the view subtracts: forecasts are relative to it."""
    spread: NDArray[np.float32]
    """[N, C] what the view divides by."""


def _series(given: Evaluated, split: Split) -> Iterator[tuple[int, Any]]:
    """(sample id, series) of a split, in order."""
    ((field, config),) = codecs.of_source(given.config).items()
    codec = build_codec(config)
    for listed in given.listing.files(split):
        with parquet.opened(given.shards.folder / listed.path) as file:
            for rows in file.iter_batches(BATCH, columns=["sample_id", field]):
                for sample_id, data in zip(rows["sample_id"].to_pylist(), rows[field].to_pylist(), strict=True):
                    yield sample_id, codec.decode(data)


def _errors(
    features: Mapping[str, Tensor], windows: Mapping[str, Windows], horizons: Sequence[int], unit: NDArray[Any]
) -> tuple[list[Tensor], list[Tensor]]:
    """Squared and absolute error of each test window by horizon, [N] each; NaN where all of its future is missing."""
    given = {split: x.flatten(0, 1) for split, x in features.items()}  # [N * R, F]
    rows, wanted = features["train"].shape[1], dict[str, list[Tensor]]()
    for split, found in windows.items():
        relative = (found.future - found.level[:, None]) / found.spread[:, None]  # [N, H, C]
        by_channel = torch.from_numpy(relative).transpose(1, 2).unflatten(1, (rows, -1))  # [N, R, C / R, H]
        rows_of = by_channel.flatten(0, 1)  # [N * R, C / R, H]
        wanted[split] = [rows_of[..., :horizon].flatten(1) for horizon in horizons]  # [N * R, C / R * H] each
    whole = ~wanted["train"][horizons.index(max(horizons))].isnan().any(1)
    fitted = fit_ridge(given["train"][whole], [y[whole] for y in wanted["train"]])
    scale = torch.from_numpy(windows["test"].spread / unit)[..., None]  # [N, C, 1]
    errors = [
        (ridge(given["test"]) - y).view(len(scale), -1, horizon) * scale  # [N, C, H]
        for ridge, y, horizon in zip(fitted, wanted["test"], horizons, strict=True)
    ]
    return [e.square().flatten(1).nanmean(1) for e in errors], [e.abs().flatten(1).nanmean(1) for e in errors]
