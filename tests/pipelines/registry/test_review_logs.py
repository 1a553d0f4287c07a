"""Where decisions are kept: models without a log, and models of copies that reviewers own."""

import threading

import pytest

from pipelines.errors import UserError
from pipelines.model import versions
from pipelines.registry import decisions
from pipelines.registry.aliases import settle
from pipelines.registry.registry import CHAMPION, PREVIOUS
from pipelines.registry.review import actions
from tests.support.decided import aliases, decide, next_entry
from tests.support.reviewed import recipe, register

pytestmark = pytest.mark.timeout(600)


def test_a_model_of_copies_is_not_judged_by_its_own_numbers(models, fresh):
    server = models
    for version in (3, 1, 2):
        decide(server, fresh, version)
    decisions.enforce(server, fresh)
    settle(server, fresh)
    before = aliases(server, f"{fresh}-prod")
    for verb in (settle, decisions.read):
        with pytest.raises(UserError, match=rf"^{fresh}-prod: holds copies of {fresh}'s champions; give {fresh}$"):
            verb(server, f"{fresh}-prod")
    assert aliases(server, f"{fresh}-prod") == before


def test_of_two_who_promote_on_a_model_without_a_log_one_wins(models, tmp_path):
    server, name = models, "unlogged"
    for seed in (0, 1):
        register(tmp_path, recipe(tmp_path, name, **{"tracking.uri": server.uri}), 45, seed=seed)
    server.client.delete_registered_model_tag(name, decisions.LOG_TAG)  # as one that an older Selfray registered
    lost, start = [], threading.Barrier(2)

    def one(version):
        start.wait()
        try:
            actions.promote(server, name, version, by=f"reviewer {version}", why="mine")
        except UserError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=one, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = decisions.read(server, name).entries
    assert len(lost) == 1 and f"promote version {winner.version} by {winner.by}" in lost[0]
    assert server.champion(name) == winner.version


def test_who_adopts_late_takes_the_log_that_is_there(models):
    client = models.client
    client.create_registered_model("late")
    client.create_model_version("late", source="models:/two/1", run_id=client.get_model_version("two", "1").run_id)
    assert decisions._adopt(models, "late") == decisions._adopt(models, "late")


def test_a_model_registered_without_a_log_gets_one(models):
    client = models.client
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source="models:/two/1", run_id=client.get_model_version("two", "1").run_id)
    decide(models, "foreign", 1)
    assert models.champion("foreign") == 1 and len(decisions.read(models, "foreign").entries) == 1
    with pytest.raises(UserError, match="not registered by Selfray"):
        actions.examine(models, versions.parse("foreign/1"))


def test_what_is_decided_while_the_log_moves_moves_with_it(models, fresh, monkeypatch):
    server, create = models, models.client.create_registered_model
    decide(server, fresh, 1)
    before = decisions.read(server, fresh)
    late = next_entry(before, 2, by="somebody else")

    def create_after_a_decision(name, **more):
        decisions.append(server, fresh, before, late)
        return create(name, **more)

    monkeypatch.setattr(server.client, "create_registered_model", create_after_a_decision)
    log = decisions.enforce(server, fresh)
    assert log.enforced and log.entries == (*before.entries, late)  # so that `promote` sees it and refuses


def test_enforced_champions_are_copies_in_a_model_of_the_reviewers(models, fresh):
    server, prod = models, f"{fresh}-prod"
    decide(server, fresh, 3)
    log = decisions.read(server, fresh)
    assert decisions.enforce(server, fresh).entries == log.entries
    with pytest.raises(UserError, match="log has just moved"):
        decisions.append(server, fresh, log, next_entry(log, 1))
    decide(server, fresh, 1)
    decide(server, fresh, 2)
    assert decisions.read(server, fresh).enforced
    sources = {int(v.version): v.source for v in server.versions(prod)}
    assert sorted(sources.values()) == [f"models:/{fresh}/{number}" for number in (1, 2, 3)]
    numbers = {source: number for number, source in sources.items()}
    server.client.set_registered_model_alias(prod, CHAMPION, str(numbers[f"models:/{fresh}/3"]))
    assert settle(server, fresh)[1] and aliases(server, prod)[CHAMPION] == numbers[f"models:/{fresh}/2"]
    decide(server, fresh, 1, kind="rollback")
    wanted = {CHAMPION: numbers[f"models:/{fresh}/1"], PREVIOUS: numbers[f"models:/{fresh}/2"]}
    assert aliases(server, prod) == wanted and len(server.versions(prod)) == 3
