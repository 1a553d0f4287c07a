"""review, promote, reject, rollback, history, compare, verify: what reviewers do with registered versions."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli.base import Verb, Verbs

if TYPE_CHECKING:
    from pipelines.config.review import ReviewConfig
    from pipelines.registry.page.tables import Rows
    from pipelines.registry.registry import Registry


def add(verbs: Verbs) -> None:
    looked = _add(
        verbs, "review", "judge a version: gates, page, model card", _review, "MODEL", "NAME[@alias] or NAME/3"
    )
    looked.add_argument("--output", type=Path, metavar="DIR", help="where to write it; default selfray-review/NAME-3")
    looked.add_argument("--local", action="store_true", help="only write it; leave MLflow as it is")
    for name, text, verb in (
        ("promote", "make a version the champion, if it passes every gate", _promote),
        ("reject", "record that a version is not to be promoted", _reject),
        ("rollback", "make the champion of before the champion again", _rollback),
    ):
        parser = _add(verbs, name, text, verb, "NAME", "registered model")
        if name != "rollback":
            parser.add_argument("--version", type=int, required=True, metavar="V")
        parser.add_argument("--by", required=True, metavar="WHO")
        parser.add_argument("--why", required=True, metavar="TEXT")
        if name != "reject":
            parser.add_argument("--force", action="store_true", help="past failed gates; recorded")
        if name == "promote":
            _gates(parser)
    _gates(looked)
    _add(verbs, "history", "print every decision about a model", _history, "NAME", "registered model")
    compared = _add(verbs, "compare", "two versions, runs or evaluation folders", _compare, "A", "the first")
    compared.add_argument("second", metavar="B", help="the second: what it gains on A")
    _add(verbs, "verify", "check the artifact of every version", _verify, "NAME", "by default every model", "?")


def _add(
    verbs: Verbs, name: str, text: str, verb: Verb, first: str, what: str, count: str | None = None
) -> argparse.ArgumentParser:
    parser = verbs.add(name, text, verb)
    parser.add_argument("model", metavar=first, nargs=count, help=what)
    where = "MLflow server or sqlite:///PATH; by default MLFLOW_TRACKING_URI, else selfray-runs/mlflow.db"
    parser.add_argument("--tracking-uri", metavar="URI", help=where)
    return parser


def _gates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gates", type=Path, metavar="FILE", help="the reviewer's own `review:` section, as YAML")


def _server(options: argparse.Namespace) -> "Registry":
    from pipelines.model.versions import default_uri
    from pipelines.registry.registry import Registry

    return Registry(options.tracking_uri or default_uri())


def _rules(options: argparse.Namespace) -> "ReviewConfig | None":
    from pipelines.config import review

    return review.load(options.gates) if options.gates else None


def _review(options: argparse.Namespace) -> int:
    from pipelines.model import versions
    from pipelines.registry.aliases import settle
    from pipelines.registry.page import tables
    from pipelines.registry.review import actions, files
    from pipelines.registry.review.campaigns import campaign_line
    from pipelines.tracking.display import say

    rules, reference = _rules(options), versions.parse(options.model)
    if options.output:
        files.may_write(options.output)
    server = _server(options)
    if not options.local:
        for line in settle(server, reference.name)[1]:
            say(f"review: {line}")
    case = actions.examine(server, reference, rules)
    facts = case.review.facts
    folder = options.output or Path("selfray-review") / f"{facts.name}-{facts.version}"
    page = files.write(case, folder)
    _print(tables.gates(case.review), f"gates from {case.review.gates_from}")
    if not options.local:
        files.attach(server, case, folder)
    say(case.review.verdict)
    if won := facts.campaign:
        say(campaign_line(won.verdict, won.trial, won.num_trials) + (f" (run {won.run_id})" if won.run_id else ""))
    say(f"report: {page}")
    return 0


def _promote(options: argparse.Namespace) -> int:
    from pipelines.registry.review import actions

    rules, said = _rules(options), {"by": options.by, "why": options.why}
    server = _server(options)
    return _say(actions.promote(server, options.model, options.version, force=options.force, rules=rules, **said))


def _reject(options: argparse.Namespace) -> int:
    from pipelines.registry.review import actions

    return _say(actions.reject(_server(options), options.model, options.version, by=options.by, why=options.why))


def _rollback(options: argparse.Namespace) -> int:
    from pipelines.registry.review import actions

    done = actions.rollback(_server(options), options.model, by=options.by, why=options.why, force=options.force)
    return _say(done)


def _history(options: argparse.Namespace) -> int:
    from pipelines.registry import aliases, decisions

    server = _server(options)
    log = decisions.read(server, options.model)
    _say([entry.line() for entry in log.entries] or [f"{options.model}: nothing has been decided yet"])
    state = aliases.compare(server, options.model, log)
    _say(state.losses())
    return _say([f"{line}; the next decision or review puts it right" for line in state.lines()])


def _compare(options: argparse.Namespace) -> int:
    from pipelines.registry.page import tables
    from pipelines.registry.review import actions, comparison, same_data

    folders = Path(options.model).is_dir() and Path(options.second).is_dir()
    server = None if folders else _server(options)
    first, second = (actions.any_subject(server, text) for text in (options.model, options.second))
    found = same_data.against(server, first, second)[0] if server else comparison.compare(first, second)
    by = f" of {found.evaluations}" if found.evaluations else ""
    shared = f"paired on {found.num_shared:,} shared test samples{by}"
    _print(tables.gains(found), f"not paired: {found.unpaired}" if found.unpaired else shared)
    if found.changed:
        _print(tables.changed(found), "changed keys")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from pipelines.registry import verify

    checked = verify.versions(_server(options), options.model)
    _print(verify.table(checked), f"{options.model or 'all models'}: {len(checked)} versions")
    return int(any(each.problems for each in checked.values()))


def _print(rows: "Rows", caption: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from pipelines.storage.printable import printable_lines
    from pipelines.tracking.display import console

    table = Table(caption=Text(caption))
    for index, column in enumerate(rows.header):
        table.add_column(Text(column), justify="right" if index in rows.numeric else "left", overflow="fold")
    for line in rows.cells:
        table.add_row(*(Text(printable_lines(cell)) for cell in line))
    console.print(table)


def _say(lines: list[str]) -> int:
    from pipelines.tracking.display import say

    for line in lines:
        say(line)
    return 0
