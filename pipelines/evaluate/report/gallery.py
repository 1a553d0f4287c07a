"""The pictures of an evaluation report, drawn from what the stages left on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.config.run import RunConfig, SetupConfig
from pipelines.evaluate.report import plots, samples
from pipelines.storage import checkpoint, outbox
from pipelines.train.artifact import Checkpoint
from ssl_core.build import build_chain, build_method
from ssl_core.evaluate.knn import nearest
from ssl_core.types import Batch

QUERIES, NEIGHBORS, RECONSTRUCTED, GENERATED = 8, 8, 8, 32
UNPLOTTED = {"epoch", "samples_per_s", "data_wait"}


def draw(
    config: SetupConfig,
    given: Checkpoint,
    arrays: Mapping[str, NDArray[Any]],
    test: tuple[Tensor, Tensor],
    labels: Mapping[int, int] | None,
    classes: Sequence[str] | None,
    folder: Path,
) -> dict[str, str]:
    """Write every picture this run can show into `folder`.

    Args:
        arrays: some test samples, `sample_id` [n] and their eval view `view0` [n, ...].
        test: features [N, D] and sample ids [N] of the whole test split.
    Returns: caption -> file name, in the order of the report.
    """
    figures = {}
    points: dict[str, list[tuple[int, float]]] = {}
    for point in outbox.read(given.folder.parent.parent):
        for name, value in point.metrics.items():
            if name not in UNPLOTTED and not name.startswith("audit/"):
                points.setdefault(name, []).append((point.step, value))
    if points:
        plots.curves(points, folder / "curves.png")
        figures["Training curves"] = "curves.png"
    row = {sample: index for index, sample in enumerate(test[1].tolist())}
    shown = [i for i, sample in enumerate(arrays["sample_id"].tolist()) if sample in row]
    ids = arrays["sample_id"][shown]
    features = test[0][[row[i] for i in ids.tolist()]]  # [n, D]
    views, label = arrays["view0"][shown], None if labels is None else np.array([labels[i] for i in ids.tolist()])
    images = build_chain(config.views["eval"]).pictures(views)  # [n, H, W, 3]
    samples.save(folder, ids, features.numpy(), images, label, classes)
    plots.embedding_map(features.numpy(), label, folder / "map.png", class_names=classes, seed=config.seed)
    figures["Embedding map"] = "map.png"
    if len(ids) > NEIGHBORS:
        unit = torch.nn.functional.normalize(features, dim=1)
        queries = np.linspace(0, len(ids) - 1, min(QUERIES, len(ids)), dtype=np.int64)
        found = nearest(unit[queries], unit, NEIGHBORS + 1)[1].numpy()  # [Q, K + 1], the query itself among them
        others = np.stack([line[line != q][:NEIGHBORS] for q, line in zip(queries, found, strict=True)])
        plots.gallery(images, queries, others, label, folder / "neighbors.png", class_names=classes)
        figures["Nearest neighbors"] = "neighbors.png"
    if isinstance(config, RunConfig):
        figures |= _of_method(config, given, views[:RECONSTRUCTED], ids[:RECONSTRUCTED], folder)
    return figures


@torch.no_grad()
def _of_method(
    config: RunConfig, given: Checkpoint, views: NDArray[Any], ids: NDArray[np.int64], folder: Path
) -> dict[str, str]:
    """What a method that paints makes of views, and of noise."""
    method, figures = build_method(config.method, config.encoder, config.views), dict[str, str]()
    method.load_state_dict(checkpoint.weights(given.folder))
    chain = build_chain(config.views["eval"])
    view = chain.finish(torch.from_numpy(np.array(views)))
    pictures = method.eval().reconstruct(Batch((view,), torch.from_numpy(np.array(ids)), (chain.valid(view),)))
    if pictures is not None:
        shown, made = (chain.pictures(chain.restore(x).numpy()) for x in pictures)
        plots.reconstructions(shown, made, chain.pictures(views), folder / "reconstructions.png")
        figures["Reconstructions"] = "reconstructions.png"
    drawn = method.generate(torch.arange(GENERATED))
    if drawn is not None:
        plots.generated(chain.pictures(chain.restore(drawn).numpy()), folder / "generated.png")
        figures["Made of noise"] = "generated.png"
    return figures
