"""Class names as text of a picture: names come from outside, in any script and of any length."""

from collections.abc import Sequence
from functools import cache

from pipelines.storage.printable import printable

MAX_NAME = 40
"""Characters of a class name in a picture, where nothing narrower is asked for."""


def class_text(number: int, names: Sequence[str] | None, longest: int = MAX_NAME) -> str:
    """What to draw for a class: its name; behind its number where the name is cut or the font lacks a glyph of it.

    Missing glyphs become backslash escapes: the font's boxes all look the same. `$` is escaped, as `$...$` would be
    set as mathematics.

    Args:
        names: by class number; None: the number alone.
        longest: characters drawn at most.
    """
    if names is None:
        return str(number)
    name = printable(names[number])
    drawn = "".join(letter if ord(letter) in _glyphs() else _escaped(letter) for letter in name)
    if drawn != name or len(drawn) > longest:
        room = longest - len(f"{number} ()")
        drawn = f"{number} ({drawn if len(drawn) <= room else drawn[: room - 1] + chr(0x2026)})"
    return drawn.replace("$", r"\$")


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()


@cache
def _glyphs() -> frozenset[int]:
    """The code points that the font of the pictures has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())
