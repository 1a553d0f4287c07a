"""doctor: would a run work, here or on a cluster?"""

import argparse

from pipelines.cli.base import Verbs


def add(verbs: Verbs) -> None:
    text = "check this machine, or a cluster, and say what to do about each fault"
    parser = verbs.add_for_recipe("doctor", text, _doctor, default="digits")
    parser.add_argument("--address", metavar="URL", help="check the cluster with this dashboard, by a job on it")


def _doctor(options: argparse.Namespace) -> int:
    from pipelines.config.parse import load

    config = load(options.recipe, options.set)
    if options.address is None:
        from pipelines.cli import doctor

        return doctor.examine(config)
    from cluster.entrypoint import of_recipe
    from cluster.jobs import Jobs
    from cluster.submit import submit
    from cluster.verbs.jobs import follow

    jobs = Jobs(options.address)
    return follow(jobs, submit(jobs, of_recipe("doctor", config), again=True).submission_id)
