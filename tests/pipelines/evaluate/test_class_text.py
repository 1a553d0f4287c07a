"""Class names of any script and length are drawn readably, and matplotlib has nothing to complain about."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from pipelines.evaluate.report import diagnostics, plots
from pipelines.evaluate.report.class_text import class_text

NAMES = (
    "\u732b",
    "\u72ac",
    "x" * 200,
    "\u732b" * 200,
    "\x1b[2Jevil",
    "$x^2$",
    "a b",
    "\uc548\ub155",
    "caf\u00e9",
    "W" * 90,
)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("cat", "cat"),
        ("caf\u00e9 \u0434\u0430", "caf\u00e9 \u0434\u0430"),  # the font has these
        ("\u732b 2", r"7 (\u732b 2)"),
        ("\x1b[2J", r"\x1b[2J"),
        ("$x$", r"\$x\$"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "7 (" + "x" * 35 + "\u2026)"),
    ],
)
def test_a_name_is_drawn_as_the_font_can(name: str, drawn: str) -> None:
    assert class_text(7, dict.fromkeys(range(8), name)) == drawn  # type: ignore[arg-type]
    assert class_text(7, None) == "7"


@pytest.mark.parametrize("count", [1, 2, 10])
def test_every_picture_takes_every_name_without_a_word(count: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    label = np.arange(60) % count
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for names in (NAMES[:count], NAMES[-count:]):
            features = draw.normal(size=(60, 4)).astype(np.float32)
            plots.embedding_map(features, label, tmp_path / "m.png", class_names=names)
            images, shown = draw.integers(0, 255, (60, 8, 8, 3), np.uint8), np.arange(64).reshape(8, 8) % 60
            plots.gallery(images, np.arange(8), shown, label, tmp_path / "g.png", class_names=names)
            diagnostics.confusion(np.eye(count, dtype=np.int64), names, tmp_path / "c.png", "Confusions (x)")
