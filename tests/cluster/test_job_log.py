"""What a follower of a job reads; the dumps are copied from logs of jobs whose nodes were killed."""

from cluster.job_log import JobLog, last_words

DUMPS = """\
\x1b[33m(raylet)\x1b[0m A worker died: (1) SIGKILL by OOM killer due to high memory usage
[state-dump] NodeManager:
    [state-dump] Node ID: 5d1f
[2026-12-01 03:00:00,123 E 12345 12399] core_worker.cc:123: Failed to connect to GCS within 60 seconds
*** SIGTERM received at time=1764558000 on cpu 1 ***
PC: @     0x7f2a3c  (unknown)  epoll_wait
    @     0x7f2a3c1b0  (unknown)  (unknown)
/lib/x86_64-linux-gnu/libc.so.6(+0x89144) [0x7f2a3c1b0144] libc
/x/ray/_raylet.so(_ZN3ray10CoreWorker+0x1d3) [0x7f2a3c1b0144] ray::core::CoreWorker
"""
OURS = [
    "pretrain  step 30/100  epoch 6.00  loss 4.5552",
    "(raylet) 1 Workers killed due to memory pressure (OOM)",
    "selfray: [a] list; at /data/x.so is no log of Ray's",
    "pretrain  worker 0 died: its node died; going on from step 30",
]


def test_dumps_are_left_out_and_counted_and_all_else_stays_wherever_a_piece_ends():
    text = "".join(f"{line}\n{DUMPS}" for line in OURS)
    for size in (1, 7, 64, len(text)):
        log = JobLog()
        shown = "".join(log(text[i : i + size]) for i in range(0, len(text), size))
        assert shown.splitlines() == OURS
        assert log.step == 30 and log.end() == "(36 lines of Ray's own dumps left out; its logs are on the nodes)\n"


def test_a_last_line_without_an_end_is_shown():
    log = JobLog()
    assert log("one\ntw") == "one\n" and log("o") == "" and log.end() == "two" and log.end() == ""


def test_how_a_job_ended_is_said_where_its_own_log_cannot():
    said = last_words(-9, "Job entrypoint command failed", 30)
    assert said.startswith("the driver was killed (signal 9: out of memory?); submitting the same again goes on from")
    assert said.endswith("step 30 or before")
    assert last_words(-15, "", None).startswith("the driver was killed (signal 15); submitting the same again")
    assert last_words(1, "Job entrypoint command failed", 30) == ""
    assert last_words(None, "one\nThe node died\n", None) == "The node died"
