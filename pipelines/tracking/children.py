"""Child runs of the run that is going on: one per stage or trial, fed from the outbox of its folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.storage.outbox import Point
from pipelines.tracking import provenance, shipping
from pipelines.tracking import server as store
from pipelines.tracking.server import Value, reached
from pipelines.tracking.shipping import Shipper

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.tracking.runs import Tracked


@dataclass(frozen=True)
class Child:
    """What a child run mirrors, and what it says of itself."""

    folder: Path
    """Its name, below one parent, is that of one run of a stage."""
    stage: str
    title: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    """At most 100."""


def shipper(
    tracked: "Tracked",
    child: Child,
    *,
    go_on: "Callable[[MlflowClient, str], bool] | None" = None,
    tried: bool = True,
) -> Shipper:
    """What ships the outbox of `child.folder` to its run, which is found or made when it first ships.

    Args:
        go_on: takes up the run that the folder names, perhaps under another parent; False: it is not on the server.
            None: only a run below this parent counts.
        tried: an earlier process may have made a run whose id it did not write down; only then is one looked for, at
            the first try, before another is made.
    """
    client, made = tracked.client, ""

    def open_run() -> str:
        nonlocal tried, made
        known = shipping.state(child.folder)
        with reached():
            if go_on and known and known.run_id and go_on(client, known.run_id):
                return known.run_id
            found, tried = _found(tracked, child) if tried else None, True
            if found is None:
                made = _made(tracked, child)
            return found or made

    def send(run_id: str, points: list[Point]) -> None:
        values = [Value(key, p.time, p.step, value) for p in points for key, value in p.metrics.items()]
        with reached():
            store.log_values(client, run_id, values)

    def arrived(run_id: str) -> dict[str, int]:
        return {} if run_id == made else _last_steps(client, run_id)  # one that was just made is empty: not asked

    return Shipper(child.folder, open_run, send, arrived)


def _found(tracked: "Tracked", child: Child) -> str | None:
    """The run of an earlier, interrupted try under this parent, set to RUNNING."""
    mine = f"tags.mlflow.parentRunId = '{tracked.run_id}' and tags.`selfray.stage_folder` = '{child.folder.name}'"
    query = f"{mine} and tags.`selfray.stage` = '{child.stage}'"
    found = tracked.client.search_runs([tracked.experiment_id], query, max_results=1)
    if not found:
        return None
    run_id = str(found[0].info.run_id)
    tracked.client.update_run(run_id, status="RUNNING")
    if child.params:
        store.log_params(tracked.client, run_id, dict(child.params))
    return run_id


def _made(tracked: "Tracked", child: Child) -> str:
    tags = {"mlflow.parentRunId": tracked.run_id, "mlflow.user": provenance.user()}
    tags |= {"selfray.stage": child.stage, "selfray.stage_folder": child.folder.name, **child.tags}
    run_id = str(tracked.client.create_run(tracked.experiment_id, tags=tags, run_name=child.title).info.run_id)
    if child.params:
        store.log_new(tracked.client, run_id, dict(child.params))
    return run_id


def _last_steps(client: "MlflowClient", run_id: str) -> dict[str, int]:
    """Metric -> its highest step, by one request and one per metric.

    Raises:
        Unreachable: the server does not answer.
    """
    with reached():
        names = client.get_run(run_id).data.metrics
        return {name: max(point.step for point in client.get_metric_history(run_id, name)) for name in names}
