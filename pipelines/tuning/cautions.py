"""What is refused or said before a campaign runs its first trial."""

from pipelines.config.run import RunConfig
from pipelines.config.tune import METRICS, TuneConfig
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.tuning.outcome.verdict import weakness
from pipelines.tuning.space import num_points
from ssl_core.catalog import find

WIDTH = ("rankme", "alpha_req", "lidar")
"""Metrics of the spectrum of the features, so of how many there are."""


def can_be_ranked(config: RunConfig, settings: TuneConfig, shards: ShardSet) -> None:
    """
    Raises:
        UserError: the metric needs labels, and there are none, or the trials train on them.
    """
    metric = METRICS[settings.metric]
    if find("ssl_core.methods", config.method.name).reads and metric.needs_labels:
        raise UserError(
            f"tune.metric: method {config.method.name} trains on the labels of train, so a slice of train cannot "
            f"score it; a label-free metric can, e.g. rankme"
        )
    if metric.needs_labels and shards.num_classes is None:
        free = ", ".join(name for name, m in METRICS.items() if not m.needs_labels and name != "loss")
        raise UserError(f"tune.metric: {settings.metric} needs labels, the source has none; take one of {free}")


def cautions(settings: TuneConfig, shards: ShardSet) -> list[str]:
    """Lines about what the campaign cannot show, or not well."""
    lines, metric = [], settings.metric
    points = num_points(settings.space)
    if settings.searcher == "grid" and points is not None and points > settings.num_trials:
        lines.append(f"{settings.num_trials} of {points} grid points, drawn at random (tune.num_trials)")
    if metric == "loss":
        lines.append("warning: the pretext loss cannot be compared across temperatures, mask ratios or losses")
    elif not METRICS[metric].needs_labels:
        there = shards.num_classes is not None
        safer = "there are labels: knn_top1 is safer, and the report will hold"
        lines.append(
            f"warning: {safer if there else 'without labels nothing holds'} {metric} against a probe; rankme, lidar "
            "and alpha_req may rank temperatures backwards"
        )
    if metric in WIDTH and any(key.partition(".")[0] == "encoder" for key in settings.space):
        lines.append(
            f"warning: encoder is searched, and {metric} depends on the width of the features: it may choose the "
            "width, not the better encoder; knn_top1 or alignment_uniformity do not"
        )
    if (few := weakness(settings.confirm)) is not None:
        lines.append(f"warning: {few}")
    return lines
