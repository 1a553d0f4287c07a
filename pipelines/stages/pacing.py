"""Keep Ray Data's scheduling loop from spinning.

Ray 2.60's streaming executor waits for tasks with `ray.wait`, which returns at once when a task's output is held
back because the consumer is slower (streaming_executor_state.py, process_completed_tasks). That is the normal state of
a training step on CPUs: the loop then took a whole core, in the training process, and as much time as the training
thread itself. A nap after each turn leaves it at a few percent; blocks hold a second of work or more, so nothing waits.
"""

import time
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

NAP_SECONDS = 0.02


class Pace(ExecutionCallback):  # type: ignore[misc]
    def on_execution_step(self, executor: Any) -> None:
        time.sleep(NAP_SECONDS)
