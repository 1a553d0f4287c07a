"""The outbox: nothing lost, nothing twice, whatever is killed when."""

import json
import math
import resource
import signal
import subprocess
import sys
import time

import pytest

from pipelines.errors import UserError
from pipelines.storage import outbox

WRITER = """
import sys, time
from pathlib import Path
from pipelines.storage import outbox
folder, restored, last, pause = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
outbox.rewind(folder, restored)
for step in range(restored + 1, last + 1):
    outbox.append(folder, step=step, total=last, metrics={"loss": step / 2, "try": restored})
    if step % 10 == 0:
        outbox.commit(folder, step)
    time.sleep(pause)
"""


def write(folder, steps):
    for step in steps:
        outbox.append(folder, step=step, total=100, metrics={"loss": float(step)})


def steps(points):
    return [point.step for point in points]


def committed_steps(folder, offset=0):
    return [point.step for _, point in outbox.committed(folder, offset)]


def last_commit(folder):
    lines = (folder / outbox.NAME).read_bytes().split(b"\n")[:-1]
    return max((json.loads(line).get("commit", 0) for line in lines), default=0)


def test_points_come_back_as_logged(tmp_path):
    before = time.time_ns() // 1_000_000
    outbox.append(tmp_path, step=3, total=9, metrics={"loss": 0.1, "gap": math.nan, "up": math.inf, "down": -math.inf})
    (point,) = outbox.read(tmp_path)
    assert (point.step, point.total) == (3, 9)
    assert before <= point.time <= time.time_ns() // 1_000_000
    assert math.isnan(point.metrics.pop("gap"))
    assert point.metrics == {"loss": 0.1, "up": math.inf, "down": -math.inf}


def test_a_disk_that_takes_half_a_line_takes_none(tmp_path):
    write(tmp_path, [1])
    size = (tmp_path / outbox.NAME).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path, [2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / outbox.NAME).stat().st_size == size
    write(tmp_path, [2])
    assert steps(outbox.read(tmp_path)) == [1, 2]


def test_an_empty_folder_has_no_points(tmp_path):
    outbox.rewind(tmp_path, 5)
    outbox.finish(tmp_path)
    assert list(outbox.read(tmp_path)) == outbox.committed(tmp_path, 0) == []
    assert outbox.tail(tmp_path, 0) == ([], 0)
    assert not list(tmp_path.iterdir())


def test_only_committed_points_may_be_shipped(tmp_path):
    write(tmp_path, [1, 2])
    assert committed_steps(tmp_path) == []
    outbox.commit(tmp_path, 2)
    write(tmp_path, [3])
    assert committed_steps(tmp_path) == [1, 2]
    (_, (end, _)) = outbox.committed(tmp_path, 0)
    outbox.append(tmp_path, step=4, total=100, metrics={"loss": 4.0}, final=True)
    assert committed_steps(tmp_path, end) == [3, 4]


def test_finish_commits_what_is_left_and_nothing_twice(tmp_path):
    write(tmp_path, [1, 2])
    outbox.finish(tmp_path)
    size = (tmp_path / outbox.NAME).stat().st_size
    outbox.finish(tmp_path)
    assert committed_steps(tmp_path) == [1, 2]
    assert (tmp_path / outbox.NAME).stat().st_size == size


def test_a_torn_line_is_not_read_and_the_next_writer_cuts_it(tmp_path):
    write(tmp_path, [1])
    with (tmp_path / outbox.NAME).open("ab") as file:
        file.write(b'{"t": 17, "step": 2, "to' + b"x" * 9000)  # longer than one block of the backward search
    assert steps(outbox.read(tmp_path)) == [1]
    write(tmp_path, [2])
    assert steps(outbox.read(tmp_path)) == [1, 2]


@pytest.mark.parametrize(("restored", "left"), [(0, [1, 2]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 3, 4])])
def test_rewind_keeps_what_a_commit_or_the_checkpoint_covers(tmp_path, restored, left):
    write(tmp_path, [1, 2])
    outbox.commit(tmp_path, 2)
    write(tmp_path, [3, 4])
    outbox.rewind(tmp_path, restored)
    assert steps(outbox.read(tmp_path)) == committed_steps(tmp_path) == left


def test_a_shipped_point_that_is_logged_again_stays_as_it_was_shipped(tmp_path):
    write(tmp_path, [1, 2, 3])
    outbox.commit(tmp_path, 3)
    outbox.rewind(tmp_path, 1)  # the checkpoint of step 3 turned out to be damaged
    for step in (2, 3, 4):
        outbox.append(tmp_path, step=step, total=100, metrics={"loss": -1.0, "new": 1.0})
    assert [(p.step, p.metrics) for p in outbox.read(tmp_path)] == [
        (1, {"loss": 1.0}),
        (2, {"loss": 2.0}),
        (3, {"loss": 3.0}),
        (2, {"new": 1.0}),
        (3, {"new": 1.0}),
        (4, {"loss": -1.0, "new": 1.0}),
    ]


def test_tail_goes_on_where_it_was_also_after_a_rewind(tmp_path):
    write(tmp_path, [1, 2])
    points, offset = outbox.tail(tmp_path, 0)
    assert steps(points) == [1, 2]
    assert outbox.tail(tmp_path, offset) == ([], offset)
    write(tmp_path, [3])
    points, offset = outbox.tail(tmp_path, offset)
    assert steps(points) == [3]
    outbox.rewind(tmp_path, 1)
    points, offset = outbox.tail(tmp_path, offset)
    assert points == []
    write(tmp_path, [2, 3])
    points, offset = outbox.tail(tmp_path, offset)
    assert steps(points) == [2, 3]


def test_a_name_that_mlflow_would_refuse_is_said_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"'top@1'"):
        outbox.append(tmp_path, step=1, total=1, metrics={"loss": 1.0, "top@1": 0.5})
    assert not (tmp_path / outbox.NAME).exists()


def test_a_damaged_line_is_named(tmp_path):
    write(tmp_path, [1])
    with (tmp_path / outbox.NAME).open("ab") as file:
        file.write(b"\0\0\0\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl: the line that ends at byte \d+ is damaged"):
        list(outbox.read(tmp_path))


def test_notes_are_kept_in_order(tmp_path):
    outbox.note(tmp_path, "first")
    outbox.note(tmp_path, "second")
    assert [line.split(" ", 1)[1] for line in (tmp_path / outbox.NOTES).read_text().splitlines()] == ["first", "second"]


def test_a_killed_writer_loses_nothing_committed_and_repeats_nothing(tmp_path):
    started = 0
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(started), "100000", "0.0005"])
        wanted = started + 25
        deadline = time.monotonic() + 60
        while not (tmp_path / outbox.NAME).exists() or last_commit(tmp_path) < wanted:
            assert time.monotonic() < deadline and writer.poll() is None
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        shipped = outbox.committed(tmp_path, 0)
        started = last_commit(tmp_path)
    last = started + 30
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), str(started), str(last), "0"], check=True)
    outbox.finish(tmp_path)
    assert steps(outbox.read(tmp_path)) == committed_steps(tmp_path) == list(range(1, last + 1))
    assert outbox.committed(tmp_path, 0)[: len(shipped)] == shipped
