"""Speed, measured: `python -m tests.benchmarks [NAME ...]`; all of them take twenty minutes on two idle cores.

Each benchmark runs in a process of its own. Outcomes go to bench.json and from there to docs/performance.md.
"""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("augment", "decode", "stream", "wait", "memory", "startup", "placement")
LONG = (
    "modes",
    "precision",
    "peer",
    "league",
    "series",
    "probes",
    "campaign",
    "scaling",
    "step",
)  # only when asked for by name


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*BENCHMARKS, *LONG)))
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it runs; docs/performance.md stays"
    )
    parser.add_argument("--json", type=Path, help="keep the outcome here and leave docs/performance.md as it is")
    parser.add_argument("--data", type=Path, help="folder of the real data set that a benchmark names")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="of the league")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training for each method of the league")
    options = parser.parse_args()
    names = options.names or BENCHMARKS
    if unknown := [name for name in names if name not in BENCHMARKS + LONG]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS + LONG)}")
    if len(names) == 1:
        _one(names[0], options)
        return 0
    flags = [*(["--quick"] if options.quick else []), *(["--json", str(options.json)] if options.json else [])]
    flags += ["--data", str(options.data)] if options.data else []
    failed = [n for n in names if subprocess.call([sys.executable, "-m", "tests.benchmarks", n, *flags])]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _one(name: str, options: argparse.Namespace) -> None:
    from tests.benchmarks import corpus, record, tables

    corpus.DATA = options.data and options.data.resolve()
    benchmark = importlib.import_module(f"tests.benchmarks.{name}")
    if name == "league":
        benchmark.ONLY, benchmark.MINUTES = options.only, options.minutes
    entry = record.measured(benchmark.__doc__ or name, benchmark.run, options.quick)
    print(tables.section({name: entry}), flush=True)
    if options.json or not options.quick:
        record.keep(name, entry, options.json or record.FILE)
    if not (options.json or options.quick):
        tables.write()


if __name__ == "__main__":
    sys.exit(main())
