"""The searched space against the rest of the recipe: every value must parse before anything starts."""

from collections.abc import Callable, Iterator, Mapping
from math import exp, log, pi, prod
from typing import Any

import numpy as np

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.config.tune import Range, TuneConfig
from pipelines.errors import UserError
from ssl_core.noise import keyed_permutation, keyed_uniform

Space = Mapping[str, Range]
Changes = dict[str, Any]
"""Dotted key -> value: all that tells a trial from the recipe."""
_LISTED = 1 << 16  # configs of a grid that are shuffled as a list; of a larger one, single ones are drawn


def section(config: RunConfig) -> TuneConfig:
    """The `tune:` section.

    Raises:
        UserError: the recipe has none.
    """
    if config.tune is None:
        raise UserError(
            "tune: the recipe has no such section; give it one, e.g. tune: "
            "{space: {method.temperature: {loguniform: [0.05, 1.0]}}, num_trials: 16}"
        )
    return config.tune


def tree(config: RunConfig) -> dict[str, Any]:
    """The recipe as it was written, without its `tune:` section; what it leaves out stays left out."""
    written = config.model_dump(mode="json", exclude_unset=True)
    written.pop("tune", None)
    return written


def check(config: RunConfig, matters: Callable[[str], bool]) -> None:
    """Parse the recipe with each choice, or with both ends of each range and what lies between them.

    Args:
        matters: says whether a dotted key decides what is trained.

    Raises:
        UserError: one dotted line per mistake, all at once.
    """
    base = tree(config)
    lines: list[str] = []
    for key, values in section(config).space.items():
        if key == "seed":
            lines.append(
                "tune.space.seed: the best seed is the luckiest, not a better config; take it out: "
                "tune.confirm.seeds measures how much is luck"
            )
            continue
        found = [line for value in values.ends for line in _faults(base, key, value)]
        if not found and values.values is None:
            low, high = values.ends
            between = float(f"{low + (high - low) / pi:.9g}")  # no whole number, which both ends may be
            found = [f"{line}; whole numbers take int: [a, b]" for line in _faults(base, key, between)]
        if not found and not matters(key):
            found = [f"tune.space.{key}: does not decide what is trained, so all its values would be one trial"]
        lines += dict.fromkeys(found)
    if lines:
        raise UserError("cannot search this space:\n" + "\n".join(f"  {line}" for line in lines))


def num_points(space: Space) -> int | None:
    """How many different configs the space holds; None: a continuum."""
    counts = [r.num_values for r in space.values()]
    return None if any(n is None for n in counts) else prod(n for n in counts if n is not None)


def grid(space: Space, key: int) -> Iterator[Changes]:
    """Every config of a finite space once, in an order that `key` draws; of a huge one, draws that may repeat."""
    count = num_points(space) or 0
    if count <= _LISTED:
        yield from (point(space, int(index)) for index in keyed_permutation(count, key))
        return
    for draw in range(count):
        yield point(space, int(keyed_uniform(np.array([draw]), 1, key)[0, 0] * count))


def point(space: Space, index: int) -> Changes:
    """One config of a finite space by its number; the last key varies fastest."""
    found: Changes = {}
    for name in reversed(list(space)):
        index, place = divmod(index, space[name].num_values or 1)
        found[name] = (space[name].values or ())[place]
    return {name: found[name] for name in space}


def at(values: Range, u: float) -> Any:
    """The value at u in [0, 1) of a range, floats with four digits."""
    if values.values is not None:
        return values.values[int(u * (values.num_values or 0))]
    low, high = values.ends
    value = exp(log(low) + u * (log(high) - log(low))) if values.loguniform else low + u * (high - low)
    return min(max(float(f"{value:.4g}"), low), high)


def place(values: Range, value: Any) -> float:
    """Where a value lies in its range, 0 to 1: the inverse of `at`, for axes and for importance."""
    if values.choice is not None:
        return values.choice.index(value) / (len(values.choice) - 1) if value in values.choice else 0.5
    low, high = values.ends
    if values.loguniform:
        return (log(value) - log(low)) / (log(high) - log(low)) if value > 0 else 0.0
    return float((value - low) / (high - low))


def _faults(base: Mapping[str, Any], key: str, value: Any) -> list[str]:
    try:
        parse(base, {key: value})
    except UserError as error:
        head, *lines = str(error).splitlines()
        return [_fault(key, value, line.strip()) for line in lines or [head]]
    return []


def _fault(key: str, value: Any, line: str) -> str:
    where, _, message = line.partition(": ")
    if message.startswith("unknown key") and key.startswith(where):
        return f"tune.space.{line}"
    return f"tune.space.{key}: {value!r} does not fit: {message if where == key else line}"
