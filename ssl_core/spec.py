"""What a view is: the agreement of a chain that makes it and an encoder that reads it. Free of torch."""

from typing import NamedTuple

IMAGE_AXES = ("channel", "height", "width")
SERIES_AXES = ("channel", "time")
MEL_AXES = ("channel", "mel", "time")
TOKEN_AXES = ("token",)


class ViewSpec(NamedTuple):
    """One finished view, as the encoder sees it; compared before Ray starts."""

    axes: tuple[str, ...]
    """IMAGE_AXES, SERIES_AXES, MEL_AXES, TOKEN_AXES, ("channel", "time", "height", "width")."""
    shape: tuple[int, ...]
    """Along `axes`; a ragged axis has its longest."""
    num_ids: int = 0
    """> 0: whole numbers below it (tokens); 0: real numbers."""
    ragged: bool = False
    """The time or token axis carries a `valid` mask."""
    nbytes: int = 0
    """Of one view as it travels from reader to worker."""

    def __str__(self) -> str:
        sides = " x ".join(f"{axis} {length}" for axis, length in zip(self.axes, self.shape, strict=True))
        kind = f", ids below {self.num_ids}" if self.num_ids else ""
        return f"{sides}{kind}{', ragged' if self.ragged else ''}"
