"""Decisions on a real MLflow server: one winner, no half promotion, nothing forgotten."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipelines.errors import UserError
from pipelines.model.versions import Reference
from pipelines.registry import decisions
from pipelines.registry.aliases import compare, settle
from pipelines.registry.decisions import Decision
from pipelines.registry.registry import CHAMPION, PREVIOUS, Registry
from pipelines.registry.review import actions
from tests.support.decided import aliases, decide, next_entry
from tests.support.flaky_proxy import FlakyProxy
from tests.support.reviewed import recipe, register

pytestmark = pytest.mark.timeout(600)


def test_promote_reject_roll_back_and_their_history(models):
    server = models
    assert actions.promote(server, "two", 1, by="ann", why="first")[-1].startswith("1. ")
    actions.promote(server, "two", 2, by="ben", why="better | much")
    assert aliases(server, "two") == {"candidate": 3, CHAMPION: 2, PREVIOUS: 1}
    with pytest.raises(UserError, match="is the champion already"):
        actions.promote(server, "two", 2, by="ben", why="again")
    with pytest.raises(UserError, match="is the champion; promote another version or roll back"):
        actions.reject(server, "two", 2, by="cy", why="no")
    actions.reject(server, "two", 3, by="cy", why="no use")
    assert aliases(server, "two") == {CHAMPION: 2, PREVIOUS: 1}
    actions.rollback(server, "two", by="ann", why="broke the search page")
    assert aliases(server, "two") == {CHAMPION: 1, PREVIOUS: 2}
    with pytest.raises(UserError, match=r"^two/3: was rejected \(3\. .* by cy: no use\); `--force` overrides"):
        actions.promote(server, "two", 3, by="ann", why="forgot")
    log = decisions.read(server, "two")
    states = [server.client.get_model_version("two", str(v)).tags["review.status"] for v in (1, 2, 3)]
    assert states == ["promoted", "rolled back", "rejected"]
    said = [(e.kind, e.version, e.champion, e.previous, e.by) for e in log.entries]
    assert said == [
        ("promote", 1, 1, None, "ann"), ("promote", 2, 2, 1, "ben"),
        ("reject", 3, 2, 1, "cy"), ("rollback", 1, 1, 2, "ann"),
    ]  # fmt: skip
    assert log.entries[1].verdict.startswith("PASS")
    tags = server.client.get_model_version("two", "1").tags
    assert Decision.model_validate_json(tags["review.decision.0004"]) == log.entries[3]
    written = server.artifacts(log.run_id, "decisions.md", "decisions.jsonl")
    assert "better \\| much" in (written / "decisions.md").read_text()
    assert len((written / "decisions.jsonl").read_text().splitlines()) == 4
    actions.promote(server, "two", 3, by="ann", why="it is of use after all", force=True)
    assert decisions.read(server, "two").last.failed == ("rejected",) and aliases(server, "two")[CHAMPION] == 3


def test_a_failed_gate_refuses_and_force_is_recorded(models, tmp_path):
    server = models
    config = recipe(tmp_path, "poor", **{"tracking.uri": server.uri})
    register(tmp_path, config, 10)  # below its floors
    with pytest.raises(UserError, match=r"^poor/1: fails floors .*`--force` overrides"):
        actions.promote(server, "poor", 1, by="ann", why="want it")
    assert server.champion("poor") is None and decisions.read(server, "poor").entries == ()
    with pytest.raises(UserError, match="--by and --why"):
        actions.promote(server, "poor", 1, by="ann", why=" ", force=True)
    actions.promote(server, "poor", 1, by="ann", why="demo on Monday", force=True)
    last = decisions.read(server, "poor").last
    assert last is not None and last.failed == ("floors",) and "forced past floors" in last.line()
    assert "forced past floors" in server.client.get_model_version("poor", "1").tags["review.decided"]
    seen = actions.examine(server, Reference("poor", CHAMPION, None)).review.verdict
    assert seen.endswith(" | promoted by ann, forced past floors (decision 1)"), seen
    with pytest.raises(UserError, match="no champion before this one"):
        actions.rollback(server, "poor", by="ann", why="undo")


def test_a_second_rollback_does_not_bring_back_what_was_just_rolled_back(models, fresh):
    server = models
    decide(server, fresh, 1)
    decide(server, fresh, 2)
    decide(server, fresh, 1, kind="rollback")
    decide(server, fresh, 3, kind="reject")  # decides nothing about the champion
    with pytest.raises(UserError, match=rf"^{fresh}/2: was rolled back itself \(3\. .*--force"):
        actions.rollback(server, fresh, by="ann", why="again")
    assert aliases(server, fresh)[CHAMPION] == 1
    actions.rollback(server, fresh, by="ann", why="it was better after all", force=True)
    assert aliases(server, fresh)[CHAMPION] == 2
    assert decisions.read(server, fresh).last.failed[0] == "rolled back"


def test_of_reviewers_who_decide_at_once_one_wins(models, fresh):
    server = models
    log = decisions.read(server, fresh)  # all of them have seen the same
    lost, start = [], threading.Barrier(6)

    def one(index):
        entry = next_entry(log, index % 3 + 1, by=f"reviewer {index}")
        start.wait()
        try:
            decisions.append(server, fresh, log, entry)
        except UserError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = decisions.read(server, fresh).entries
    assert len(lost) == 5 and all(f"by {winner.by}: because" in line for line in lost)
    settle(server, fresh)
    assert aliases(server, fresh)[CHAMPION] == winner.version


@pytest.mark.parametrize("answered", [True, False])
def test_a_decision_whose_server_dies_says_in_one_line_that_it_counts(models, fresh, answered):
    with FlakyProxy(models.uri, 1, answered=answered) as proxy, pytest.raises(UserError) as raised:
        actions.reject(Registry(proxy.uri), fresh, 3, by="ann", why="no use")  # its first write is the entry in the log
    said = str(raised.value)
    assert "decision 1 (reject version 3) is in the log all the same" in said and "Max retries" not in said, said
    assert f"`selfray history {fresh}`" in said and decisions.read(models, fresh).last.by == "ann"
    assert settle(models, fresh)[1][0].startswith("decision 1 was not carried out to its end; done now")


def test_a_repeated_request_is_no_second_decision(models, fresh):
    log = decisions.read(models, fresh)
    entry = next_entry(log, 1)
    assert decisions.append(models, fresh, log, entry) == decisions.append(models, fresh, log, entry)
    assert len(decisions.read(models, fresh).entries) == 1


@pytest.mark.parametrize("answered", [True, False])
def test_a_promotion_that_dies_at_any_request_is_old_or_new_and_gets_finished(models, fresh, answered):
    server = models
    decide(server, fresh, 1)
    for num_writes in range(1, 30):
        log = decisions.read(server, fresh)
        old, new = log.last.champion, log.last.champion % 3 + 1
        with FlakyProxy(server.uri, num_writes, answered=answered) as proxy:
            died = False
            try:
                decide(Registry(proxy.uri), fresh, new)
            except UserError:
                died = True
        found = aliases(server, fresh)
        assert found[CHAMPION] in (old, new)
        made = len(decisions.read(server, fresh).entries) > len(log.entries)
        if found[CHAMPION] == new:
            assert made  # nobody is champion without an entry
        settle(server, fresh)
        assert compare(server, fresh, decisions.read(server, fresh)).is_settled
        assert aliases(server, fresh)[CHAMPION] == (new if made else old)
        if not died:
            assert num_writes > 5  # it has died at each request before
            return
    raise AssertionError("it never came to its end")


def test_a_killed_promotion_is_reported_and_completed(models, fresh):
    server = models
    decide(server, fresh, 1)
    log = decisions.read(server, fresh)
    code = (
        "import os, signal, sys\n"
        "from pipelines.registry import decisions\n"
        "from pipelines.registry.decisions import Decision\n"
        "from pipelines.registry.registry import Registry\n"
        "server = Registry(sys.argv[1])\n"
        "entry = Decision.model_validate_json(sys.argv[3])\n"
        "decisions.append(server, sys.argv[2], decisions.read(server, sys.argv[2]), entry)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    entry = next_entry(log, 2)
    done = subprocess.run(
        [sys.executable, "-c", code, server.uri, fresh, entry.model_dump_json()], timeout=300, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert aliases(server, fresh)[CHAMPION] == 1
    state = compare(server, fresh, decisions.read(server, fresh))
    assert state.lines()[0] == "decision 2 was not carried out to its end"
    _, said = settle(server, fresh)
    assert "@champion is on version 1; by the log it belongs on version 2; done now" in said
    assert aliases(server, fresh)[CHAMPION] == 2 and settle(server, fresh)[1] == []


def test_an_alias_moved_by_hand_is_put_back(models, fresh):
    server = models
    decide(server, fresh, 1)
    server.client.set_registered_model_alias(fresh, CHAMPION, "3")
    assert compare(server, fresh, decisions.read(server, fresh)).moved == {CHAMPION: (3, 1)}
    settle(server, fresh)
    assert aliases(server, fresh)[CHAMPION] == 1


def test_a_decision_tag_that_was_edited_is_put_back_and_older_ones_change_no_status(models, fresh):
    server = models
    first = decide(server, fresh, 1)
    decide(server, fresh, 2)
    decide(server, fresh, 1, kind="rollback")
    decide(server, fresh, 2, kind="reject")
    server.client.set_model_version_tag(fresh, "1", "review.decision.0001", first.model_dump_json().replace("a", "b"))
    server.client.set_model_version_tag(fresh, "2", "review.decision.0002", "{}")
    assert [entry.number for entry in compare(server, fresh, decisions.read(server, fresh)).undone] == [1, 2]
    settle(server, fresh)
    tags = [server.client.get_model_version(fresh, number).tags for number in ("1", "2")]
    assert tags[0]["review.decision.0001"] == first.model_dump_json()
    assert [each["review.status"] for each in tags] == ["promoted", "rejected"]


def test_a_deleted_version_does_not_lock_the_model(models, fresh):
    server = models
    decide(server, fresh, 1)
    decide(server, fresh, 2)
    server.client.delete_model_version(fresh, "2")
    _, said = settle(server, fresh)
    assert said == ["version 2, @champion by the log, was deleted"]
    decide(server, fresh, 3)  # version 2 is now the one of before, which cannot come back
    assert aliases(server, fresh) == {CHAMPION: 3}
    with pytest.raises(UserError, match=rf"^{fresh}/2: "):
        actions.rollback(server, fresh, by="a", why="back")
    server.client.delete_model_version(fresh, "3")
    log = decisions.enforce(server, fresh)  # there is nothing to copy any more
    assert compare(server, fresh, log).is_settled and settle(server, fresh)[1][0].startswith("version 3, @champion")
    decide(server, fresh, 1)
    server.client.delete_model_version(fresh, "1")
    assert compare(server, fresh, decisions.read(server, fresh)).is_settled  # the copy is served all the same
    assert list(aliases(server, f"{fresh}-prod")) == [CHAMPION]


@pytest.mark.slow
def test_the_verbs_in_processes_of_their_own(models, tmp_path):
    server = models
    config = recipe(tmp_path, "cli", **{"tracking.uri": server.uri})
    for seed in (0, 1):
        register(tmp_path, config, 45 + seed, seed=seed)

    def selfray(*arguments):
        command = [sys.executable, "-m", "pipelines", *arguments, "--tracking-uri", server.uri]
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path, env=environment
        )

    done = selfray("review", "cli")
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout and (tmp_path / "selfray-review" / "cli-2" / "review.html").exists()
    assert selfray("promote", "cli", "--version", "2", "--by", "ann", "--why", "good").returncode == 0
    listed = selfray("history", "cli")
    assert "promote version 2 by ann: good" in listed.stdout
    refused = selfray("rollback", "cli", "--by", "ann", "--why", "oops")
    assert refused.returncode == 1 and refused.stderr.startswith("selfray: cli: no champion before this one")
    assert "paired on 60 shared" in selfray("compare", "cli/1", "cli/2").stdout
    assert selfray("verify", "cli").returncode == 0
    began = time.monotonic()
    assert selfray("history", "absent").returncode == 1 and time.monotonic() - began < 60
