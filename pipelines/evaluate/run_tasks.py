"""The parts of an evaluation that need more than frozen features of clean views, one after the other."""

from pipelines.config.evaluate import TASKS, allowed_tasks
from pipelines.evaluate.tasks.base import Evaluated, EvaluationTask, Outcome
from ssl_core.build import build_chain
from ssl_core.catalog import find


def run(given: Evaluated) -> Outcome:
    """Whatever of them `evaluate` asks for. Raises as they do."""
    outcome = Outcome({subject.name: {} for subject in given.subjects})
    for config in allowed_tasks(given.config.evaluate, build_chain(given.config.views["eval"])):
        task: EvaluationTask = find(TASKS, config.name)(config)
        task.measure(given, outcome)
    return outcome
