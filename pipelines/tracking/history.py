"""What a run has of its curves already."""

from typing import TYPE_CHECKING

from pipelines.tracking.server import reached

if TYPE_CHECKING:
    from mlflow import MlflowClient


def last_steps(client: "MlflowClient", run_id: str) -> dict[str, int]:
    """Metric -> its highest step, by one request and one per metric.

    Raises:
        Unreachable: the server does not answer.
    """
    with reached():
        names = client.get_run(run_id).data.metrics
        return {name: max(point.step for point in client.get_metric_history(run_id, name)) for name in names}
