"""submit, jobs, logs, stop: runs on a cluster."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from pipelines.verbs.base import Verbs

if TYPE_CHECKING:
    from cluster.jobs import Jobs

VERBS = ("run", "ingest", "pretrain", "evaluate", "register", "tune")
ADDRESS = "URL of the cluster's dashboard; by default that of `selfray cluster up`"
STOP_S = 130


def add(verbs: Verbs) -> None:
    parser = verbs.add_for_recipe("submit", "run a recipe as a job of a cluster", _submit)
    parser.add_argument(
        "--verb", dest="job", choices=VERBS, default="run", help="what to do with the recipe (default run)"
    )
    parser.add_argument("--again", action="store_true", help="also if the same has been done there before")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", default=True, help="show its log until it ends (default)")
    how.add_argument("--detach", dest="follow", action="store_false", help="come back as soon as it is submitted")
    jobs = verbs.add("jobs", "the jobs of a cluster", _jobs)
    logs = verbs.add("logs", "what a job has printed", _logs)
    logs.add_argument("--follow", action="store_true", help="until it ends; the exit status is the job's")
    stop = verbs.add("stop", "end a job at a checkpoint; submitting it again goes on", _stop)
    for command in (parser, jobs, logs, stop):
        command.add_argument("--address", metavar="URL", help=ADDRESS)
    for command in (logs, stop):
        command.add_argument("id", metavar="ID", help="as `selfray jobs` shows it")


def _submit(options: argparse.Namespace) -> int:
    from cluster.jobs import Jobs
    from cluster.submit import submit
    from pipelines.config import load
    from pipelines.display import say

    config = load(options.recipe, options.set)
    jobs = Jobs(options.address)
    made = submit(jobs, config, options.job, again=options.again)
    size = f"{made.num_files} files, {made.num_bytes / 1e6:.1f} MB"
    say(f"submitted {made.submission_id} to {jobs.address} (working directory: {size})")
    if not options.follow:
        say(_come_back(jobs, made.submission_id))
        return 0
    return follow(jobs, made.submission_id)


def _jobs(options: argparse.Namespace) -> int:
    from cluster.jobs import Jobs
    from pipelines.display import clock, say

    jobs = Jobs(options.address)
    found = jobs.all()
    if not found:
        say(f"no jobs of Selfray at {jobs.address}")
        return 0
    rows = [("id", "status", "verb", "by", "started", "took")]
    for job in found:
        about, began = job.metadata or {}, (job.start_time or 0) / 1000
        took = ((job.end_time or 0) / 1000 or time.time()) - began
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(began))
        rows.append((job.submission_id, job.status.lower(), about["selfray"], about["user"], started, clock(took)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:  # plain: a table of rich cuts ids off where the terminal is narrow
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _logs(options: argparse.Namespace) -> int:
    from cluster.jobs import Jobs

    jobs = Jobs(options.address)
    if options.follow:
        return follow(jobs, options.id)
    _show(jobs.log(options.id))
    return 0


def _stop(options: argparse.Namespace) -> int:
    from cluster.jobs import Jobs
    from pipelines.display import say

    jobs = Jobs(options.address)
    if not jobs.stop(options.id):
        say(f"{options.id}: is not running")
        return 0
    say(f"{options.id}: asked to save a checkpoint and stop")
    say(f"{options.id}: {jobs.ended(options.id, STOP_S).status.lower()}")
    return 0


def follow(jobs: "Jobs", submission_id: str) -> int:
    from pipelines.display import say

    try:
        return jobs.follow(submission_id, _show)
    except KeyboardInterrupt:
        say(f"\ndetached; {submission_id} goes on")
        say(_come_back(jobs, submission_id))
        return 130


def _come_back(jobs: "Jobs", submission_id: str) -> str:
    at = f"--address {jobs.address}"
    return f"come back:  selfray logs {submission_id} --follow {at}\nend it:     selfray stop {submission_id} {at}"


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
