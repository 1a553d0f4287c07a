"""The pictures of a campaign's report, as PNG bytes by caption. Matplotlib loads when they are drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.config.tune import Range
from pipelines.evaluate.report.plots import GREY, INK, MUTED, new_figure, png
from pipelines.tuning.outcome.findings import Findings
from pipelines.tuning.records import Trial
from pipelines.tuning.space import place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEST, _DEFAULT, _STOPPED, _FLOOR = MUTED[1], MUTED[2], MUTED[0], "#777777"
_COLUMNS = 3
DPI = 110
_MARKS = {"done": "o", "stopped": "v", "collapsed": "x", "running": "."}


def draw(found: Findings) -> dict[str, bytes]:
    """Caption -> PNG; only what can be drawn."""
    pictures = {"Score against each searched key": png(_scatter(found), DPI)}
    pictures["Learning curves"] = png(_curves(found), DPI)
    if len(found.space) > 1:
        pictures["Parallel coordinates"] = png(_parallel(found), DPI)
    if found.importance:
        pictures["Importance of each key"] = png(_importance(found), DPI)
    return pictures


def _scatter(found: Findings) -> "Figure":
    keys = list(found.space)
    num_rows = -(-len(keys) // _COLUMNS)
    figure = new_figure(
        4.2 * min(_COLUMNS, len(keys)), 3.2 * num_rows + 0.6, f"{found.metric} against each searched key"
    )
    own = next((c for c in found.confirmed if c.trial is None), None)
    for position, key in enumerate(keys):
        axes, values = figure.add_subplot(num_rows, min(_COLUMNS, len(keys)), position + 1), found.space[key]
        for state, mark in _MARKS.items():
            mine = [t for t in _search(found) if t.state == state and t.value(found.metric) is not None]
            if mine:
                color = _STOPPED if state == "done" else GREY
                xs, ys = [_x(values, t.changes[key]) for t in mine], [_score(found, t) for t in mine]
                axes.scatter(xs, ys, marker=mark, s=28, color=color, label=_named(state))
        best, (height, label) = found.best, _winner(found)
        axes.scatter([_x(values, best.changes[key])], [height], marker="*", s=170, color=_BEST,
                     edgecolors=INK, linewidths=0.6, zorder=3, label=label)  # fmt: skip
        if own and own.mean is not None:
            axes.axhline(own.mean, color=_DEFAULT, linewidth=1, linestyle="--", label="recipe's own config")
        if (here := _own(values, found.own.get(key))) is not None:
            axes.axvline(here, color=_DEFAULT, linewidth=1, linestyle=":", label="recipe's own value")
        _x_axis(axes, values, key)
        _plain(axes)
        if position == 0:
            axes.set_ylabel(found.metric, fontsize=9)
            axes.legend(fontsize=7, frameon=False)
    return figure


def _winner(found: Findings) -> tuple[float, str]:
    """Where the winner is drawn: at its mean over fresh seeds, as the recipe is; its one score was the luckiest."""
    if found.confirmation is None or found.confirmation.mean is None:
        return _score(found, found.best), "winner, one seed"
    return found.confirmation.mean, "winner, mean of fresh seeds"


def _curves(found: Findings) -> "Figure":
    figure = new_figure(8, 4.6, f"{found.metric} as each trial trains")
    axes = figure.add_subplot()
    for trial in _search(found):
        line = [
            (look.step / trial.total, look.values[found.metric]) for look in trial.looks if found.metric in look.values
        ]
        if not line:
            continue
        xs, ys = zip(*line, strict=True)
        best = trial.number == found.winner
        color, width = (_BEST, 2.4) if best else (_STOPPED, 1.0) if trial.state == "done" else (GREY, 1.0)
        axes.plot(xs, ys, color=color, linewidth=width, zorder=3 if best else 2, label="winner" if best else None)
        if trial.state in ("stopped", "collapsed"):
            axes.scatter(xs[-1:], ys[-1:], marker=_MARKS[trial.state], color=INK, s=26, zorder=4)
    for rung in found.rungs:
        axes.axvline(rung.share, color=GREY, linewidth=0.8, linestyle=":")
    for (name, values), style in zip(found.floors.items(), ("--", "-."), strict=False):
        if found.metric in values:
            axes.axhline(values[found.metric], color=_FLOOR, linewidth=1, linestyle=style, label=name.replace("_", " "))
    axes.scatter([], [], marker="v", color=INK, s=26, label="stopped at a rung (dotted lines)")
    axes.set_xlabel("share of a full training", fontsize=9)
    axes.set_ylabel(found.metric, fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    _plain(axes)
    return figure


def _parallel(found: Findings) -> "Figure":
    keys = list(found.space)
    figure = new_figure(2.2 * (len(keys) + 1) + 1, 4.4, "Parallel coordinates: one line per trial")
    axes = figure.add_subplot()
    scored = [(t, v) for t in _search(found) if (v := t.value(found.metric)) is not None]
    low, high = min(v for _, v in scored), max(v for _, v in scored)
    for trial, value in sorted(scored, key=lambda pair: pair[0].number == found.winner):
        ys = [place(found.space[key], trial.changes[key]) for key in keys] + [(value - low) / ((high - low) or 1)]
        best = trial.number == found.winner
        color = _BEST if best else _STOPPED if trial.state == "done" else GREY
        axes.plot(range(len(ys)), ys, color=color, linewidth=2.4 if best else 1.0, alpha=1 if best else 0.6)
    for position, key in enumerate(keys):
        ends = found.space[key].ends
        for y, end in ((0, ends[0]), (1, ends[-1])):
            axes.annotate(_short(end), (position, y), fontsize=8, color=INK, xytext=(4, 2), textcoords="offset points")
    for y, end in ((0, low), (1, high)):
        axes.annotate(f"{end:.3f}", (len(keys), y), fontsize=8, color=INK, xytext=(4, 2), textcoords="offset points")
    axes.set_xticks(range(len(keys) + 1), [*keys, found.metric], fontsize=8)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color=INK, alpha=0.4)
    return figure


def _importance(found: Findings) -> "Figure":
    figure = new_figure(
        6, 0.45 * len(found.importance) + 1.2, "Share of the score's variance that each key alone explains"
    )
    axes = figure.add_subplot()
    names, values = list(found.importance)[::-1], list(found.importance.values())[::-1]
    axes.barh(range(len(names)), values, color=MUTED[0], height=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlim(0, 1.05)
    for y, value in enumerate(values):
        axes.annotate(f"{value:.0%}", (value, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    _plain(axes)
    return figure


def _search(found: Findings) -> Sequence[Trial]:
    return [trial for trial in found.trials if trial.kind == "search"]


def _score(found: Findings, trial: Trial) -> float:
    """NaN, which is not drawn, where it has none."""
    value = trial.value(found.metric)
    return float("nan") if value is None else value


def _x(values: Range, value: Any) -> Any:
    return values.choice.index(value) if values.choice is not None else value


def _own(values: Range, value: Any) -> Any:
    """Where the recipe's own value goes on the axis; None: nowhere."""
    if values.choice is not None:
        return values.choice.index(value) if value in values.choice else None
    drawn = isinstance(value, int | float) and (values.loguniform is None or value > 0)
    return value if drawn else None


def _x_axis(axes: "Axes", values: Range, key: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    if values.choice is not None:
        axes.set_xticks(range(len(values.choice)), [_short(value) for value in values.choice], fontsize=8)
    elif values.loguniform is not None:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(key, fontsize=9)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):  # a whole section
        value = value.get("name", "...")
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 14 else text[:13] + "~"


def _named(state: str) -> str:
    return {"done": "trained in full", "stopped": "stopped early, last score"}.get(state, state)


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    axes.tick_params(labelsize=8)
