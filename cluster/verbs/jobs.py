"""submit, jobs, logs, stop: runs on a cluster."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli import plain
from pipelines.cli.base import Verbs
from pipelines.cli.models import EMBEDDING, add_embedding
from pipelines.errors import UserError

if TYPE_CHECKING:
    from cluster.entrypoint import Entrypoint
    from cluster.jobs import Jobs

VERBS = ("run", "ingest", "pretrain", "evaluate", "register", "tune", "embed")
ADDRESS = "URL of the cluster's dashboard; by default that of `selfray cluster up`"
STOP_S = 130


def add(verbs: Verbs) -> None:
    text = "run a recipe as a job of a cluster; or embed, or score a model"
    parser = verbs.add_for_recipe("submit", text, _submit, takes_data=True)
    plain.add_options(parser, budget=False)
    parser.add_argument(
        "--verb", dest="job", choices=VERBS, default="run", help="what to do with the recipe (default run)"
    )
    parser.add_argument("--on", metavar="DATA", help="with --verb evaluate: score the MODEL given in place of a recipe")
    embed = parser.add_argument_group("with --verb embed, whose version or model's folder stands in place of a recipe")
    add_embedding(embed, required=False)
    parser.set_defaults(**dict.fromkeys(EMBEDDING))
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
    wanted = _wanted(options)
    from cluster.jobs import Jobs  # after the recipe: a typo is said before they are imported
    from cluster.submit import submit
    from pipelines.tracking.display import say

    jobs = Jobs(options.address)
    made = submit(jobs, wanted, again=options.again)
    size = f"{made.num_files} files, {made.num_bytes / 1e6:.1f} MB"
    say(f"submitted {made.submission_id} to {jobs.address} (working directory: {size})")
    if not options.follow:
        say(_come_back(jobs, made.submission_id))
        return 0
    return follow(jobs, made.submission_id)


def _wanted(options: argparse.Namespace) -> "Entrypoint":
    """
    Raises:
        UserError: what is given does not fit the verb.
    """
    given = {name: getattr(options, name) for name in EMBEDDING}
    if options.job != "embed" and (more := [name for name, value in given.items() if value is not None]):
        raise UserError(f"--{more[0].replace('_', '-')}: is for embedding; add --verb embed")
    if options.job != "evaluate" and options.on is not None:
        raise UserError("--on: is for evaluating; add --verb evaluate")
    if options.job == "embed" and options.set:
        raise UserError("--set: embed reads no recipe; see the options of `selfray embed --help`")
    config = plain.config_of(options) if options.job != "embed" and options.on is None else None
    from cluster import entrypoint

    if config is not None:
        return entrypoint.of_recipe(options.job, config)
    if options.job == "embed":
        return entrypoint.of_embedding(options.recipe, given)
    return entrypoint.of_evaluation(options.recipe, Path(options.on), options.set)


def _jobs(options: argparse.Namespace) -> int:
    from cluster.jobs import Jobs
    from pipelines.tracking.display import clock, say

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
    from pipelines.tracking.display import say

    jobs = Jobs(options.address)
    if not jobs.stop(options.id):
        say(f"{options.id}: is not running")
        return 0
    say(f"{options.id}: asked to save a checkpoint and stop")
    say(f"{options.id}: {jobs.ended(options.id, STOP_S).status.lower()}")
    return 0


def follow(jobs: "Jobs", submission_id: str) -> int:
    from pipelines.tracking.display import say

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
