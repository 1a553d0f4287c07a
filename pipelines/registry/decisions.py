"""The decision log of a registered model: numbered entries that are written once and never change.

It is a run of its own in MLflow, named by the registered model's tag `selfray.decisions`. Entry N is the
run's param `decision.N`: MLflow refuses a second value for a param, in one database transaction, so of two
reviewers who decide at once exactly one writes entry N and the other is told. What aliases and tags say
follows from the log (pipelines/registry/aliases.py); the log never follows from them.

Enforced mode moves the log to the registered model NAME-prod and to an experiment of its own, which belong to
the reviewer who makes them: with MLflow's basic-auth nobody else can decide, or move its aliases. The files of a
copied version stay where the source's lie: whoever may write there can overwrite them, and what holds against that is
the sha256 in the copy's tags, which `load_encoder`, `selfray verify` and every other verb compare.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from pydantic import Field, PositiveInt, ValidationError

from pipelines.errors import UserError
from pipelines.registry.registry import Client, Registry
from pipelines.tracking import server as store
from pipelines.tracking.markdown import plain, table
from ssl_core.config import Config

LOG_TAG = "selfray.decisions"
"""On the registered model: id of the run that holds its log."""
MAX_WHY, MAX_ENTRY = 3000, 6000  # what a param of MLflow holds; it cuts longer ones without a word
PROD = "-prod"
_KEY = "decision."

Kind = Literal["promote", "reject", "rollback"]


class Decision(Config):
    """One entry."""

    number: PositiveInt
    kind: Kind
    version: PositiveInt
    """Promoted, rejected, or gone back to."""
    champion: PositiveInt | None
    """After this decision."""
    previous: PositiveInt | None
    """After this decision: what `rollback` goes back to."""
    by: str
    why: str
    time: str
    """UTC, ISO 8601."""
    verdict: str = ""
    """Of the review."""
    failed: tuple[str, ...] = ()
    """Gates that failed and were overridden; `rejected`: an earlier decision that was."""
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """Tells two equal decisions apart, and a repeated request from a second decision."""

    def line(self) -> str:
        """One line for people."""
        forced = f" [{self.forced}]" if self.failed else ""
        return f"{self.number}. {self.time}  {self.kind} version {self.version} by {self.by}: {self.why}{forced}"

    @property
    def forced(self) -> str:
        """What it was made in spite of; empty: nothing was in its way."""
        return f"forced past {', '.join(self.failed)}" if self.failed else ""


class Log(NamedTuple):
    """All entries, oldest first, and the run that holds them."""

    run_id: str
    entries: tuple[Decision, ...]
    enforced: bool = False
    """It is kept by NAME-prod, which holds copies of the champions."""

    @property
    def last(self) -> Decision | None:
        return self.entries[-1] if self.entries else None

    def about(self, version: int) -> Decision | None:
        """The latest decision about a version."""
        return next((entry for entry in reversed(self.entries) if entry.version == version), None)

    def rolled_back(self) -> Decision | None:
        """The decision that made today's champion, where it went back from `previous`."""
        made = next((entry for entry in reversed(self.entries) if entry.kind != "reject"), None)
        return made if made and made.kind == "rollback" else None


def begin(client: Client, name: str, experiment_id: str) -> str:
    """Make the run of a new log; returns its id. The caller names it on the registered model."""
    run = client.create_run(
        experiment_id,
        run_name=f"{name}: decisions",
        tags={LOG_TAG: name, "mlflow.note.content": f"What reviewers decided about `{name}`: see decisions.md."},
    )
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def read(registry: Registry, name: str) -> Log:
    """The log of a model; empty and without a run where nothing has been decided and none was begun.

    Raises:
        UserError: the log's run is gone or another model's, an entry is missing or cannot be read.
    """
    tags = {model.name: model.tags for model in (registry.model(name), *registry.models(name + PROD))}
    enforced = tags.get(name + PROD, {}).get(LOG_TAG, "")
    run_id = enforced or tags[name].get(LOG_TAG, "")
    if not run_id:
        return Log("", ())
    run = registry.run(run_id)
    if (owner := run.data.tags.get(LOG_TAG, name)) != name:  # its numbers are not those of this model's versions
        what = f"holds copies of {owner}'s champions" if name == owner + PROD else f"has the decision log of {owner}"
        raise UserError(f"{name}: {what}; give {owner}")
    params = run.data.params
    numbers = sorted(int(key.removeprefix(_KEY)) for key in params if key.startswith(_KEY))
    if numbers != list(range(1, len(numbers) + 1)):
        raise UserError(f"{name}: entries are missing in its decision log, MLflow run {run_id}; restore the database")
    try:
        entries = tuple(Decision.model_validate_json(params[_key(number)]) for number in numbers)
        return Log(run_id, entries, bool(enforced))
    except ValidationError as error:
        raise UserError(
            f"{name}: the decision log, MLflow run {run_id}, is damaged: {error.errors()[0]['msg']}"
        ) from None


def append(registry: Registry, name: str, log: Log, decision: Decision) -> Log:
    """Write the next entry: the moment at which a decision is made.

    Raises:
        UserError: somebody else wrote this entry first (says who and what), or it is too long.
    """
    value = decision.model_dump_json()
    if len(value) > MAX_ENTRY:
        raise UserError(f"{name}: this decision has {len(value)} characters, the log takes {MAX_ENTRY}; shorten --why")
    with registry.asked():
        if not log.run_id:
            log = log._replace(run_id=_adopt(registry, name))
    try:
        with registry.asked():
            written = store.write_once(registry.client, log.run_id, _key(decision.number), value)
    except UserError as error:
        raise UserError(
            f"{error}: whether decision {decision.number} is in the log is not known; `selfray history {name}` says"
        ) from None
    with carried_on(name, decision if written else None):
        now_there = read(registry, name)
    if now_there.run_id != log.run_id:
        if decision in now_there.entries:  # it moved with the log
            return now_there
        raise UserError(
            f"{name}: its decision log has just moved to {name}{PROD}; see `selfray history {name}`, then try again"
        )
    if not written:
        other = now_there.entries[decision.number - 1]
        raise UserError(f"{name}: somebody decided at the same moment, so this was not done: {other.line()}")
    return now_there


@contextmanager
def carried_on(name: str, written: Decision | None) -> Iterator[None]:
    """What follows once a decision is in the log; where the server goes away meanwhile, that it is there is said.

    Args:
        written: the decision; None: somebody else's is in its place.
    Raises:
        UserError: as inside.
    """
    try:
        yield
    except UserError as error:
        if written is None:
            raise
        raise UserError(
            f"{error}: decision {written.number} ({written.kind} version {written.version}) is in the log all the "
            f"same; the next decision or review of {name} carries it out, `selfray history {name}` shows it"
        ) from None


def enforce(registry: Registry, name: str) -> Log:
    """Move the log to NAME-prod, a registered model of whoever calls this first; later calls only read it."""
    log, client = read(registry, name), registry.client
    if log.enforced:
        return log
    with registry.asked():
        title = f"{name}{PROD}: decisions"
        experiment = client.get_experiment_by_name(title)
        moved = begin(client, name, experiment.experiment_id if experiment else client.create_experiment(title))
        for entry in log.entries:
            client.log_param(moved, _key(entry.number), entry.model_dump_json())
        if registry.models(name + PROD):
            client.set_registered_model_tag(name + PROD, LOG_TAG, moved)
        else:
            client.create_registered_model(name + PROD, tags={LOG_TAG: moved})  # from here on it counts
        old = log.run_id or registry.model(name).tags.get(LOG_TAG, "")  # which somebody may just have begun
        there = registry.run(old).data.params if old else {}
        for key, value in there.items():  # what was decided while this went on
            if key.startswith(_KEY):
                store.write_once(client, moved, key, value)
    return read(registry, name)


def tell(registry: Registry, name: str, log: Log) -> None:
    """Write the log as artifacts of its run, for people: a copy of what the params say."""
    lines = "".join(entry.model_dump_json() + "\n" for entry in log.entries)
    with registry.asked():
        registry.client.log_text(log.run_id, lines, "decisions.jsonl")
        registry.client.log_text(log.run_id, markdown(name, log.entries), "decisions.md")


def markdown(name: str, entries: Sequence[Decision]) -> str:
    """The log as a table."""
    head, rows = ("number", "time (UTC)", "decision", "version", "by", "why", "review"), list[list[str]]()
    for entry in entries:
        review = f"{entry.verdict} (forced past {', '.join(entry.failed)})" if entry.failed else entry.verdict
        cells = (str(entry.number), entry.time, entry.kind, str(entry.version), entry.by, entry.why, review or "-")
        rows.append([plain(cell) for cell in cells])
    return f"# {name}: decisions\n\n" + "\n".join(table(head, rows, numeric=(0, 3))) + "\n"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _adopt(registry: Registry, name: str) -> str:
    """A log for a model that was registered without one, beside the run of its oldest version."""
    oldest, client = registry.versions(name)[0].run_id, registry.client
    run_id, key = begin(client, name, registry.run(oldest).info.experiment_id), f"{LOG_TAG}.{name}"
    if not store.write_once(client, oldest, key, run_id):  # of several who adopt at once, the first one's log counts
        client.delete_run(run_id)
        run_id = registry.run(oldest).data.params[key]
    client.set_registered_model_tag(name, LOG_TAG, run_id)
    return run_id


def _key(number: int) -> str:
    return f"{_KEY}{number:04d}"
