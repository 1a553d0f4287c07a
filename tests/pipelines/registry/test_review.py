"""A version is examined, judged and explained: what the gates see, what the page shows, what MLflow gets."""

import base64
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pipelines.config.review import Gates, ReviewConfig
from pipelines.errors import UserError
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.scoring.scores import Pretraining
from pipelines.model import card_file, versions
from pipelines.registry.page import html, tables
from pipelines.registry.registry import Registry
from pipelines.registry.review import actions, files, same_data
from pipelines.registry.review.comparison import compare
from pipelines.storage import checkpoint
from pipelines.storage.inputs import RECORD, Inputs
from pipelines.tracking.server import storage
from tests.support import reviewed
from tests.support.registry import pack_tiny
from tests.support.reviewed import HEADLINE, OVERLAP, PICTURE, gate, recipe, register, results, score_again

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Champion 1, a better version 2, a worse 3; 4 has no labels, 5 leaks, 6 is of other data."""
    root = tmp_path_factory.mktemp("reviewed")
    about = {"review.license": "CC0 <1.0>", "review.provenance": "drawn by a test"}
    register(root, recipe(root, "m", **about), 40, seed=0)
    register(root, recipe(root, "m", **{"optim.lr": 0.02}), 52, seed=1)
    register(root, recipe(root, "m", **{"optim.lr": 0.03}), 20, seed=2)
    register(root, recipe(root, "m", **{"optim.lr": 0.04}), seed=3, scored=False)
    register(root, recipe(root, "m", **{"optim.lr": 0.05}), 52, seed=4, leaks=OVERLAP)
    register(root, recipe(root, "m", **{"optim.lr": 0.06}), 52, seed=5, shards="other")
    server = Registry(storage(recipe(root, "m"), root))
    server.client.set_registered_model_alias("m", "champion", "1")
    return server, root


@cache  # each one starts a clean process that loads the version
def _as_it_is(server, text):
    return actions.examine(server, versions.parse(text))


def examine(server, text, **gates):
    if not gates:
        return _as_it_is(server, text)
    return actions.examine(server, versions.parse(text), ReviewConfig(gates=Gates(**gates)))


def test_a_better_version_passes_every_gate(served):
    case = examine(served[0], "m/2")
    assert case.review.failed == (), case.review.judged
    assert case.review.verdict.startswith(f"PASS 8/8 gates | {HEADLINE} 0.867 [0.767, 0.967], +0.200 on m version 1")
    assert case.review.against.changed == {"optim.lr": (0.01, 0.02)}
    gain = case.review.against.gain(HEADLINE)
    assert gain.low > 0.08 and gain.high < 0.32 and gain.p_value < 0.01  # 12 of 60 samples won, none lost
    assert case.review.against.num_shared == reviewed.NUM_TEST


def test_lineage_names_data_commit_restarts_and_audit(served):
    facts = examine(served[0], "m/1").review.facts
    assert facts.lineage.audit == "exact: every planned sample was consumed once" and facts.lineage.audit_exact
    assert facts.lineage.restarts == 1 and facts.lineage.code.environment["torch"]
    version = served[0].client.get_model_version("m", "1")
    assert facts.lineage.shards == version.tags["selfray.shards"]
    assert facts.lineage.sha256 == version.tags["selfray.sha256"]
    assert (facts.data.license, facts.data.provenance) == ("CC0 <1.0>", "drawn by a test")
    assert facts.missing == () or all("commit" in sentence for sentence in facts.missing)


def test_the_interval_decides_a_regression_not_the_point(served):
    wide = {"max_regression": 0.5, "compared": (HEADLINE,)}
    assert results(examine(served[0], "m/3", **wide))[f"max_regression.{HEADLINE}"] is True
    # the loss is 20 of 60: the point, 0.333, lies within 0.36, the interval does not
    lost = gate(examine(served[0], "m/3", max_regression=0.36), f"max_regression.{HEADLINE}")
    assert lost.passed is False and lost.measured.startswith("-0.333") and "exclude a larger loss" in lost.why


def test_other_data_cannot_be_compared(served, tmp_path):
    server, root = served
    name, other = f"max_regression.{HEADLINE}", root / "made" / "m-5-52-other" / "shards"
    case = examine(server, "m/6")
    found = gate(case, name)
    assert found.passed is False and "scored on different data" in found.why
    assert f"`selfray evaluate m/1 --on {other} --set tracking.uri={server.uri}` scores m version 1" in found.why
    page = files.write(case, tmp_path).read_text()
    assert "Samples won and lost cannot be told" in page and "None among the stored" not in page
    assert "Nearest neighbors in m version 6" in page and "Nearest neighbors in m version 1" in page
    assert tables.health(case.review.facts.scores, html._champions(case.review)).cells[0][2] == "-"
    keys = {k: v for k, v in case.subject.facts.config.items() if k != "evaluate.robustness"}  # null
    keys["evaluate.robustness.severities"] = [1, 5]
    harder = replace(case.subject, facts=case.subject.facts.model_copy(update={"config": keys}))
    command = same_data.command(server, case.champion, harder)
    assert command.endswith("""--set 'evaluate.robustness={"severities": [1, 5]}'""")
    score_again(root, recipe(root, "m"), 1, other, 40, pretraining=Pretraining(leaks=OVERLAP))  # as that command does
    case = actions.examine(server, versions.parse("m/6"))
    found = gate(case, name)
    assert found.passed and found.measured.startswith("+0.200 [") and "test samples of the evaluations by" in found.why
    leaks = gate(case, "max_leak_rate")  # the champion has seen what it was scored on
    assert leaks.passed is False and leaks.measured.startswith("10.0%")
    assert "in pre-training of m version 1, run " in leaks.why and "b/<1>.png = a/3.png" in leaks.why
    page = files.write(case, tmp_path).read_text()
    assert "in pre-training of m version 1, run " in page and ">Won from the champion" in page
    score_again(root, recipe(root, "m"), 1, other, 41, pretraining=Pretraining(missing="its shards are away"))
    unknown = gate(actions.examine(server, versions.parse("m/6")), "max_leak_rate")
    assert unknown.passed is False and unknown.why.endswith("not checked: its shards are away")
    score_again(root, recipe(root, "m"), 1, other, 42)
    assert gate(actions.examine(server, versions.parse("m/6")), "max_leak_rate").passed
    first, second = (actions.any_subject(server, text) for text in ("m/1", "m/6"))
    assert same_data.against(server, first, second)[0].gain(HEADLINE).low is not None  # `selfray compare` sees it too


def test_overlap_of_test_and_train_fails_and_names_samples(served):
    found = gate(examine(served[0], "m/5"), "max_leak_rate")
    assert found.passed is False and "b/<1>.png = a/3.png" in found.why and found.measured.startswith("10.0%")


def test_scores_health_latency_and_size_have_floors(served):
    found = results(
        examine(
            served[0], "m/2", min_scores={HEADLINE: 0.9, "absent": 0.1}, min_health={"rankme": 8, "lidar": 1},
            max_health={"feature_std": 0.1}, max_latency_ms=1e-6, max_size_mb=0.001,
        )
    )  # fmt: skip
    lost = {name for name, passed in found.items() if passed is False}
    wanted = {f"min_scores.{HEADLINE}", "min_scores.absent", "min_health.rankme", "min_health.lidar", "latency", "size"}
    assert lost == wanted | {"max_health.feature_std"}


def test_the_champion_itself_has_nothing_to_lose_against(served, tmp_path):
    case = examine(served[0], "m/1")
    found = gate(case, f"max_regression.{HEADLINE}")
    assert found.passed is None and found.why == "it is the champion itself: nothing to lose against"
    assert results(case)["floors"] is True and case.review.verdict.endswith(", the champion")
    files.write(case, tmp_path)
    files.attach(served[0], case, tmp_path)
    assert served[0].client.get_model_version("m", "1").tags["review.against"] == "nothing: it is the champion"


def test_the_page_needs_nothing_else_and_escapes_names(served, tmp_path):
    server, _ = served
    page = files.write(examine(server, "m/2"), tmp_path).read_text()
    assert ">duplicates<" in page and "removed" not in page  # they are counted and kept
    assert "<b>dog</b>" not in page and "&lt;b&gt;dog&lt;/b&gt;" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page and "<link" not in page
    assert page.count("data:image/png;base64,") > 40  # both maps, the gains, the gallery
    assert '<h3>Reconstructions</h3><img alt="Reconstructions"' in page and base64.b64encode(PICTURE).decode() in page
    for title in ("Gates", "Against the champion", "Per class", "Health", "Embedding maps", "Won from the champion"):
        assert f">{title}" in page, title
    assert "CC0 &lt;1.0&gt;" in files.write(examine(server, "m/1"), tmp_path).read_text()
    kept = json.loads((tmp_path / files.JSON).read_text())
    assert kept["facts"]["version"] == 1


def test_mlflow_shows_the_verdict_first(served, tmp_path):
    server, _ = served
    case = examine(server, "m/2")
    (tmp_path / "diary.txt").write_text("private")  # --output may name a folder that holds other things
    files.write(case, tmp_path)
    files.attach(server, case, tmp_path)
    version = server.client.get_model_version("m", "2")
    assert version.description.splitlines()[0] == case.review.verdict == version.tags["review.verdict"]
    assert len(version.description) <= 5000 and "cat\\|1" not in version.description.splitlines()[0]
    attached = {file.path for file in server.client.list_artifacts(version.run_id, "review")}
    assert attached == {"review/review.html", "review/review.json", "review/card.md"}
    assert server.client.get_run(version.run_id).data.tags["review.verdict"] == case.review.verdict


def test_unknown_names_say_what_there_is(served):
    server, _ = served
    for text, said in {
        "nope": r"^nope: no registered model at .*; there are m$",
        "m@gold": r"^m@gold: no such alias; @candidate = version 6, @champion = version 1$",
        "m/17": r"^m/17: no such version; there are 1, 2, 3, 4, 5, 6$",
        "m@a@b": r"not a model version",
    }.items():
        with pytest.raises(UserError, match=said):
            examine(server, text)


def test_a_server_that_is_away_is_one_line():
    with pytest.raises(UserError, match=r"^MLflow at http://127.0.0.1:9: "):
        Registry("http://127.0.0.1:9")


def test_a_database_that_does_not_exist_is_not_made(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Registry(f"sqlite:///{tmp_path / 'absent.db'}")
    assert not (tmp_path / "absent.db").exists()


def test_the_winner_of_a_campaign_says_where_it_lies(tmp_path):
    root, winner = tmp_path, {"number": 4, "kind": "search", "changes": {"optim.lr": 0.07}}
    space = {"optim.lr": {"loguniform": [0.01, 0.1], "choice": None}}
    found = {"verdict": "beyond the noise", "winner": 4, "trials": [winner], "space": space}
    register(root, recipe(root, "tuned"), 45, campaign=found)
    case = examine(Registry(storage(recipe(root, "tuned"), root)), "tuned")
    assert case.review.facts.config["optim.lr"] == 0.07  # not the recipe's 0.01, which the run logged
    assert case.review.facts.campaign.values == {"optim.lr": "0.07 of loguniform [0.01, 0.1]"}
    assert "beyond the noise" in files.write(case, root / "page").read_text()


def test_versions_runs_folders_and_checkpoints_compare(served, tmp_path):
    server, root = served
    run_id = server.client.get_model_version("m", "1").run_id
    folder = root / "made" / "m-1-52-" / "evaluate"
    first, second = actions.any_subject(server, run_id), actions.any_subject(server, str(folder))
    found = compare(first, second)
    assert found.gain(HEADLINE).gain == pytest.approx(0.2) and found.num_shared == reviewed.NUM_TEST
    with pytest.raises(UserError, match="holds no scores"):
        actions.any_subject(server, str(root))


def test_a_checkpoint_is_what_its_evaluations_say(served, tmp_path):
    server, root = served
    (trained,) = (root / "made" / "m-1-52-" / "checkpoints").iterdir()
    given = Path(shutil.copytree(trained, tmp_path / "pretrain" / "0f" / "checkpoints" / "12"))
    with pytest.raises(UserError, match="not evaluated yet"):
        actions.any_subject(server, str(given))
    packed = pack_tiny(tmp_path / "models" / "2a")
    card_file.write_card(
        packed, card_file.read_card(packed).model_copy(update={"checkpoint": checkpoint.digest(given)})
    )
    for stage, scored in {"evaluations": packed, "evaluate": given}.items():  # the latter is newer
        folder = Path(shutil.copytree(root / "made" / "m-1-52-" / "evaluate", tmp_path / stage / "1e"))
        record = ProbeReport.model_validate_json((folder / RECORD).read_text())
        record = record.model_copy(update={"checkpoint": record.checkpoint.model_copy(update={"folder": scored})})
        (folder / RECORD).write_text(record.model_dump_json())
        Inputs(run="m", keys={"optim.lr": 0.5, "evaluate.here": stage}, given={}).keep(folder)
        found = actions.any_subject(server, str(given))
        assert found.facts.lineage.shards == record.checkpoint.shards.digest
        assert found.facts.config == {"optim.lr": 0.5, "evaluate.here": stage}
    first = actions.any_subject(server, server.client.get_model_version("m", "1").run_id)
    against = compare(first, found)
    assert against.unpaired == "" and against.changed == {"optim.lr": (0.01, 0.5)}


def test_only_what_was_scored_on_the_same_data_is_paired(served, tmp_path):
    server, root = served
    first = actions.any_subject(server, server.client.get_model_version("m", "1").run_id)
    other = actions.any_subject(server, str(root / "made" / "m-5-52-other" / "evaluate"))
    found = compare(first, other)
    assert "were scored on different data" in found.unpaired and found.gain(HEADLINE).low is None
    copied = shutil.copytree(root / "made" / "m-1-52-" / "evaluate" / "report", tmp_path / "report")  # without a record
    assert "is not recorded what data" in compare(first, actions.any_subject(server, str(copied))).unpaired
