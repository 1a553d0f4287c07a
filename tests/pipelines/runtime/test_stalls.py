"""What is said of steps that do not come and of workers that die; without Ray's processes."""

from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from pipelines.errors import UserError
from pipelines.runtime.deaths import Deaths, who
from pipelines.runtime.stalls import Stalls
from pipelines.storage import outbox
from pipelines.storage.signals import FAILURE

KILLED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: RayTrainWorker\nThe actor is dead because "
    "its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
    "connection error code 2. End of file. There are some potential root causes. (1) The process is killed by SIGKILL "
    "by OOM killer due to high memory usage. (2) ray stop --force is called."
)
NODE = (
    "The actor died unexpectedly before finishing this task.\nThe actor died because its node has died. Node Id: 7da1\n"
    "\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats."
)


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def test_a_stall_is_said_once_and_its_end_too(tmp_path):
    clock, said = Clock(), list[str]()
    stalls = Stalls(tmp_path, clock)
    for second in range(200):
        clock.time = float(second)
        if (second % 4 == 0 and second < 60) or second >= 120:
            outbox.append(tmp_path, step=second + 1, total=400, metrics={"loss": 1.0})
        stalls.poll(said.append)
    assert len(said) == 2
    assert said[0].startswith("no step for 30s since step 57: ") and said[1].startswith("steps come again, after 1m0")


def test_a_training_that_logs_seldom_is_no_stall_nor_is_one_that_is_done(tmp_path):
    clock, said = Clock(), list[str]()
    stalls = Stalls(tmp_path, clock)
    for second in range(0, 400, 2):
        clock.time = float(second)
        if second % 40 == 0:
            outbox.append(tmp_path, step=second // 40 + 1, total=10, metrics={"loss": 1.0})
        stalls.poll(said.append)
    clock.time = 5000.0
    stalls.poll(said.append)
    assert said == []


def test_a_death_is_one_line_with_its_reason():
    def died(text: str) -> Exception:
        return WorkerHealthCheckFailedError("A worker health check failed.", failure=RayActorError(error_msg=text))

    assert who({0: died(KILLED)}) == "worker 0 died: its process was killed (signal 9: out of memory?)"
    assert who({1: died(NODE), 0: died(NODE)}) == "workers 0, 1 died: its node died"
    two = who({0: died(NODE), 1: died(KILLED)})
    assert two.count(";") == 1 and "worker 1 died: its process" in two
    assert who({0: UserError("loss is\nnot finite")}) == "worker 0 ended: loss is not finite"
    assert who({2: RuntimeError("Connection closed by peer")}) == "worker 2 failed: Connection closed by peer"


def test_what_ends_the_run_goes_on_from_nowhere(tmp_path):
    Deaths(tmp_path).after_exception(None, {0: RuntimeError("x")})
    notes = tmp_path / outbox.NOTES
    assert notes.read_text().endswith("worker 0 failed: x; going on from the start: there is no checkpoint yet\n")
    (tmp_path / FAILURE).write_text("why")
    Deaths(tmp_path).after_exception(None, {0: RuntimeError("y")})
    assert len(notes.read_text().splitlines()) == 1
