"""Three corrections of how Ray 2.60 runs an execution of Ray Data, through its own callback.

**It spins, or sleeps.** A turn of the executor waits for all running tasks at once, for up to 0.1 s
(streaming_executor_state.py, process_completed_tasks). When a task's output is held back because the consumer is
slower, the normal state of a training step on CPUs, that returns immediately: the loop then took a whole core, in the
training process, and as much time as the training thread itself. When the consumer is faster, it lasts 0.1 s, and
a task that has ended waits for the next turn, once for its block and once for its end, before another one starts: a
third of the time of a block. A short wait and a nap after it keep both at a few percent.

**It starves the second.** Executions share the cluster through a coordinator, which divides it anew every 20 s
(default_autoscaling_coordinator.py, TICK_INTERVAL_S); one that begins in between is given nothing, and then runs one
task at a time. Training workers each run their own, one after the other for as long as they train. What each may take
is known, so that limit is the only one here: its CPUs, and of the object store what its CPUs and the one of its
consumer are of the cluster's.
"""

import time
from functools import partial
from typing import Any

import ray
from ray.data import ExecutionResources
from ray.data._internal.execution import streaming_executor_state
from ray.data._internal.execution.execution_callback import ExecutionCallback

NAP_SECONDS = WAIT_SECONDS = 0.01


class PacedExecution(ExecutionCallback):  # type: ignore[misc]
    def before_execution_starts(self, executor: Any) -> None:
        streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = WAIT_SECONDS
        cpus = executor._data_context.execution_options.resource_limits.cpu
        executor._resource_manager._get_total_resources = partial(_share, cpus)

    def on_execution_step(self, executor: Any) -> None:
        time.sleep(NAP_SECONDS)


def _share(cpus: float) -> ExecutionResources:
    """What Ray Data holds the limits of an execution against; it asks about once a second."""
    whole = ExecutionResources.from_resource_dict(ray.cluster_resources())
    return whole.copy(object_store_memory=whole.object_store_memory * min(1.0, (1 + cpus) / whole.cpu))
