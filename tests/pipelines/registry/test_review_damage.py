"""What a review says of versions whose artifacts are damaged, gone, or older than what it looks for."""

import json
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pipelines.errors import UserError
from pipelines.model import versions
from pipelines.model.card_file import WEIGHTS
from pipelines.registry import decisions, verify
from pipelines.registry.registry import Registry
from pipelines.registry.review import actions, files
from pipelines.tracking.server import artifact_root, storage
from tests.support.decided import decide
from tests.support.reviewed import gate, recipe, register, results

pytestmark = pytest.mark.timeout(600)


def test_without_a_list_of_files_the_hash_gate_does_not_apply_but_a_pickle_fails_it(tmp_path):
    root = tmp_path
    register(root, recipe(root, "older"), 45)
    server = Registry(storage(recipe(root, "older"), root))
    server.client.delete_model_version_tag("older", "1", versions.FILES)
    found = gate(actions.examine(server, versions.parse("older/1")), "sha256")
    assert found.passed is None and "no list of registered files" in found.why
    (_weights(server, root, "older", 1).parent / "model.pkl").write_bytes(b"\x80\x04.")
    found = gate(actions.examine(server, versions.parse("older/1")), "sha256")
    assert found.passed is False and "model.pkl: a pickle" in found.why


def test_tampered_and_vanished_artifacts_are_noticed(tmp_path):
    root = tmp_path
    for seed in (0, 1, 2):
        register(root, recipe(root, "damaged"), 45, seed=seed)
    server = Registry(storage(recipe(root, "damaged"), root))
    weights = {v: _weights(server, root, "damaged", v) for v in (1, 2)}
    data = bytearray(weights[1].read_bytes())
    data[-1] ^= 1
    weights[1].write_bytes(data)
    shutil.rmtree(weights[2].parents[1])  # as `mlflow gc` may leave it: the version is READY all the same
    assert server.client.get_model_version("damaged", "2").status == "READY"
    checked = verify.versions(server, "damaged")
    assert [bool(found.problems) for found in checked.values()] == [True, True, False]
    assert list(verify.versions(server, None)) == [f"damaged/{number}" for number in (1, 2, 3)]
    for number in (1, 2):
        case = actions.examine(server, versions.parse(f"damaged/{number}"))
        assert {"sha256", "loads"} <= set(case.review.failed)
        assert case.review.verdict.startswith("FAIL")
    with pytest.raises(UserError, match=r"^damaged/1: fails sha256"):
        actions.promote(server, "damaged", 1, by="me", why="looks fine")
    assert server.champion("damaged") is None
    for version in (1, 3):  # it was promoted while it was intact
        decide(server, "damaged", version)
    with pytest.raises(UserError, match=r"^damaged/1: .*sha256.*`--force` rolls back all the same"):
        actions.rollback(server, "damaged", by="me", why="back")
    assert server.champion("damaged") == 3 and len(decisions.read(server, "damaged").entries) == 2
    actions.rollback(server, "damaged", by="me", why="back", force=True)
    assert server.champion("damaged") == 1 and decisions.read(server, "damaged").last.failed == ("artifact",)


def test_older_runs_without_numbers_say_so_in_words(tmp_path):
    root = tmp_path
    made = register(root, recipe(root, "old"), 45)
    server = Registry(storage(recipe(root, "old"), root))
    run_id = server.client.get_model_version("old", "1").run_id
    report = Path(unquote(urlsplit(server.run(run_id).info.artifact_uri).path)) / "report"
    for name in ("outcomes.safetensors", "samples.safetensors"):
        (report / name).unlink()
    tree = json.loads((report / "scores.json").read_text())
    scores = tree["scores"]
    for key in ("leaks", "intervals", "gains", "per_class"):
        scores.pop(key)
    scores["gauges"] = scores.pop("health")  # as it was called
    (report / "scores.json").write_text(json.dumps(tree))
    case = actions.examine(server, versions.parse(f"old/{made.version}"))
    assert any("No outcomes per test sample" in sentence for sentence in case.review.facts.missing)
    assert any("No stored samples" in sentence for sentence in case.review.facts.missing)
    assert results(case)["max_leak_rate"] is False and "evaluate again" in gate(case, "max_leak_rate").why
    assert "No outcomes per test sample" in files.write(case, root / "page").read_text()


def _weights(server, root, name, version):
    model_id = server.client.get_model_version(name, str(version)).source.removeprefix("models:/")
    base = Path(urlsplit(artifact_root(root)).path)
    return next(path for path in base.rglob(WEIGHTS) if model_id in str(path))
