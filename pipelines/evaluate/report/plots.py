"""The pictures of a report, as PNG files. Matplotlib and scikit-learn load when a picture is drawn.

Colors tell classes apart for color-blind readers too (Paul Tol's "muted" scheme,
https://sronpersonalpages.nl/~pault/), and what they say is also said by text or line style.

Shapes: N samples, D feature width, Q queries, K neighbors, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from pipelines.evaluate.report.class_text import class_text
from ssl_core.noise import keyed_permutation, salt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MUTED = ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499", "#661100")
GREY, _RIGHT, _WRONG = "#BBBBBB", "#009E73", "#D55E00"
INK = "#333333"
ROW_NAME, AMID_NAME = 14, 20  # characters of a class name beside a row of a gallery, amid the points of a map


def curves(points: Mapping[str, Sequence[tuple[int, float]]], path: Path, title: str = "Training") -> None:
    """One panel per series of (step, value), e.g. the loss and each gauge.

    Raises:
        ValueError: no series has a point.
    """
    drawn = {name: series for name, series in points.items() if series}
    if not drawn:
        raise ValueError("there is no curve to draw: every series is empty")
    columns = 2 if len(drawn) == 4 else min(3, len(drawn))
    num_rows = -(-len(drawn) // columns)
    figure = new_figure(4 * columns, 2.6 * num_rows + 0.5, title)
    for position, (name, series) in enumerate(drawn.items()):
        axes = figure.add_subplot(num_rows, columns, position + 1)
        steps, values = zip(*series, strict=True)
        axes.plot(steps, values, color=MUTED[0], linewidth=1.5, marker="o" if len(steps) < 20 else "", markersize=3)
        axes.annotate(  # the last value, in words
            f"{values[-1]:.3g}", (steps[-1], values[-1]), xytext=(4, 0), textcoords="offset points", color=MUTED[0],
            fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip
        axes.set_title(name, fontsize=10, color=INK)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if position >= len(drawn) - columns:
            axes.set_xlabel("step", fontsize=9)
    save(figure, path)


def embedding_map(
    features: NDArray[np.float32],
    label: NDArray[np.int64] | None,
    path: Path,
    *,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    limit: int = 1000,
    title: str = "Embedding map",
) -> None:
    """Up to `limit` samples placed in 2-D by t-SNE (by PCA where fewer than 10 differ), colored by class.

    Args:
        features: [N, D]; compared by cosine similarity.
        label: [N], or None to draw without classes. Of many classes the ten most frequent are colored.
        seed: keys the choice of samples and starts t-SNE.
    """
    chosen = keyed_permutation(len(features), salt(seed))[:limit]
    xy, how = _project(features[chosen], seed)  # [n, 2]
    figure = new_figure(7, 6.4, title)
    axes = figure.add_subplot()
    if label is None:
        axes.scatter(xy[:, 0], xy[:, 1], s=14, color=MUTED[0], alpha=0.6, linewidths=0)
    else:
        _draw_classes(axes, xy, label[chosen], class_names)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"{how} of {len(chosen)} samples, cosine similarity", fontsize=9, color=INK)
    save(figure, path)


def gallery(
    images: NDArray[np.uint8],
    queries: NDArray[np.int64],
    neighbors: NDArray[np.int64],
    label: NDArray[np.int64] | None,
    path: Path,
    *,
    class_names: Sequence[str] | None = None,
    title: str = "Nearest neighbors",
) -> None:
    """Each query and its nearest neighbors, nearest first.

    With labels, a neighbor of the query's class has a solid green frame, one of another class a dashed red one.

    Args:
        images: [N, H, W, 3].
        queries: [Q] rows of images.
        neighbors: [Q, K] rows of images.
        label: [N], or None.
    """
    num_queries, num_neighbors = neighbors.shape
    header = title
    if label is not None:
        right = float((label[neighbors] == label[queries][:, None]).mean())
        header = f"{title}: {right:.0%} of those shown share the query's class"
    figure = new_figure(1.0 * num_neighbors + 1.6, 1.0 * num_queries + 0.8, header)
    widths = [1.0, 0.25] + [1.0] * num_neighbors  # a gap sets the query apart
    grid = figure.add_gridspec(num_queries, num_neighbors + 2, width_ratios=widths)
    for row in range(num_queries):
        axes = figure.add_subplot(grid[row, 0])
        _image(axes, images[queries[row]], INK)
        if row == 0:
            axes.set_title("query", fontsize=9)
        if label is not None:
            axes.set_ylabel(class_text(int(label[queries[row]]), class_names, ROW_NAME), fontsize=9)
        for column in range(num_neighbors):
            axes = figure.add_subplot(grid[row, column + 2])
            same = None if label is None else bool(label[neighbors[row, column]] == label[queries[row]])
            frame = INK if same is None else _RIGHT if same else _WRONG
            _image(axes, images[neighbors[row, column]], frame, dashed=same is False, width=1 if same is None else 2.5)
            if row == 0:
                axes.set_title(str(column + 1), fontsize=9)
    save(figure, path)


def generated(images: NDArray[np.uint8], path: Path, title: str = "Made of noise") -> None:
    """Rows of eight pictures.

    Args:
        images: [N, H, W, 3].
    """
    rows = -(-len(images) // 8)
    figure = new_figure(8.8, 1.1 * rows + 0.7, title)
    for place, image in enumerate(images):
        _image(figure.add_subplot(rows, 8, place + 1), image, GREY)
    save(figure, path)


def reconstructions(
    shown: NDArray[np.uint8],
    made: NDArray[np.uint8],
    original: NDArray[np.uint8],
    path: Path,
    title: str = "Reconstructions",
) -> None:
    """Three rows: what the encoder saw, what the decoder made of it, the original.

    Args:
        shown, made, original: [N, H, W, 3] each.
    """
    figure = new_figure(1.1 * len(original) + 1.2, 4.0, title)
    parts = {"the encoder saw": shown, "the decoder made": made, "original": original}
    for row, (name, images) in enumerate(parts.items()):
        for column, image in enumerate(images):
            axes = figure.add_subplot(3, len(original), row * len(original) + column + 1)
            _image(axes, image, GREY)
            if column == 0:
                axes.set_ylabel(name, fontsize=9)
    save(figure, path)


def _project(features: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], str]:
    """[n, D] -> [n, 2] and the name of the method."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if len(unit) < 10 or len(np.unique(unit, axis=0)) < 10 or unit.shape[1] < 2:  # no neighborhoods to show
        left, scale, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
        axes = (left * scale)[:, :2]  # [n, 2], or [n, 1] of a single sample or dimension
        return np.pad(axes, ((0, 0), (0, 2 - axes.shape[1]))), "PCA"
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(unit) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit), "t-SNE"


def _draw_classes(
    axes: "Axes", xy: NDArray[np.float32], label: NDArray[np.int64], class_names: Sequence[str] | None
) -> None:
    """Points colored by class, the class named amid its points and in a legend."""
    from matplotlib.patheffects import withStroke

    classes, counts = np.unique(label, return_counts=True)
    named = sorted(classes[np.argsort(-counts, kind="stable")[: len(MUTED)]].tolist())
    rest = ~np.isin(label, named)
    if rest.any():
        axes.scatter(xy[rest, 0], xy[rest, 1], s=10, color=GREY, alpha=0.5, linewidths=0, label="other classes")
    for color, each in zip(MUTED, named, strict=False):
        mine, name = xy[label == each], class_text(each, class_names)
        axes.scatter(mine[:, 0], mine[:, 1], s=16, color=color, alpha=0.75, linewidths=0, label=name)
        amid = mine[np.linalg.norm(mine - np.median(mine, axis=0), axis=1).argmin()]  # a point, not a gap between two
        halo = [withStroke(linewidth=3, foreground="white")]
        short = class_text(each, class_names, AMID_NAME)
        axes.annotate(short, amid, color=INK, fontsize=11, weight="bold", ha="center", va="center", path_effects=halo)
    handles = {"markerscale": 2, "fontsize": 9, "frameon": False, "title": "class", "title_fontsize": 9}
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), **handles)


def _image(axes: "Axes", image: NDArray[np.uint8], frame: str, dashed: bool = False, width: float = 1.0) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=frame, linewidth=width, linestyle="--" if dashed else "-")


def new_figure(width: float, height: float, title: str) -> "Figure":
    """A figure outside pyplot: no global state, no display, Agg by default."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK)
    return figure


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """[H, W, 3] uint8 RGB -> PNG."""
    into = BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(into, "PNG")
    return into.getvalue()


def png(figure: "Figure", dpi: int = 130) -> bytes:
    """The same points give the same bytes."""
    into = BytesIO()
    figure.savefig(into, dpi=dpi, format="png", metadata={"Software": None})
    return into.getvalue()


def save(figure: "Figure", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure))
