"""The command line: `selfray` or `python -m pipelines`; its verbs are in pipelines/cli and cluster/verbs."""

import argparse
import importlib
import os
import signal
import sys
import traceback

from pipelines.cli.base import Verb, Verbs
from pipelines.errors import Interrupted, UserError
from pipelines.storage.printable import printable_lines

MODULES = (
    "pipelines.cli.stages",
    "pipelines.cli.tune",
    "pipelines.cli.audit",
    "pipelines.cli.review",
    "pipelines.cli.models",
    "pipelines.cli.show",
    "cluster.verbs.doctor",
    "cluster.verbs.plan",
    "cluster.verbs.jobs",
    "cluster.verbs.local",
)
"""In the order of `--help`. By name: the packages point one way, so nothing in pipelines imports cluster."""
KILLED = 130


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 an error of one line, 130 stopped by Ctrl-C (the same command goes on)."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup` and a script's `&` start us deaf to it
    options = _parser().parse_args(arguments)
    try:
        verb: Verb = options.verb
        return verb(options)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"selfray: {str(error) or 'stopped'}; run the same command again to go on from there", file=sys.stderr)
        return KILLED
    except UserError as error:
        return _fail(str(error), options.debug)
    except OSError as error:
        place = error.filename or "storage"
        return _fail(f"{place}: {error.strerror or error}; free space or fix the rights", options.debug)
    except Exception as error:  # a fault of ours: one line all the same, the rest on demand
        first = str(error).strip().split("\n", 1)[0]
        return _fail(f"{type(error).__name__}: {first} (--debug shows where)", options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="selfray", description="From unlabeled files to a reviewed encoder.")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = Verbs(parser)
    for module in MODULES:
        importlib.import_module(module).add(verbs)
    return parser


def _fail(line: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"selfray: {printable_lines(line)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
