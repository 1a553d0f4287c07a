"""Single gates: each is shown failing."""

import pytest

from pipelines.config import review
from pipelines.config.review import Gates
from pipelines.errors import UserError
from pipelines.model import versions
from pipelines.model.check import Checked
from pipelines.registry.registry import Registry
from pipelines.registry.review import actions, gates
from pipelines.tracking.server import storage
from tests.support.reviewed import HEADLINE, gate, recipe, register

pytestmark = pytest.mark.timeout(600)

CHECKED = Checked(
    sha256="0" * 64, sha256_ok=True, files_ok=True, loads=True, num_bytes=9, latency_ms=1, batch_size=1, threads=1,
    num_examples=2, max_difference=0.01, tolerance=1e-3, problems=(), not_checked=(),
)  # fmt: skip
"""What `check` says of a version whose embeddings are a hundredth off."""


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Two versions before there is a champion, one that gains on its floors and one that does not; what examines."""
    root = tmp_path_factory.mktemp("first")
    register(root, recipe(root, "first", **{"review.license": "none", "review.provenance": "a test"}), 45)
    register(root, recipe(root, "first", **{"optim.lr": 0.02}), 10, seed=1)
    server = Registry(storage(recipe(root, "first"), root))

    def examine(number, rules=None):
        return actions.examine(server, versions.parse(f"first/{number}"), rules)

    return examine(1), examine(2), examine


def test_the_limit_of_an_error_is_the_most_it_may_be(first):
    facts = first[0].review.facts
    encoder = {**facts.scores.encoder, "calibration_error": 0.08}
    facts = facts.model_copy(update={"scores": facts.scores.model_copy(update={"encoder": encoder})})
    for limit, passed in ((0.1, True), (0.05, False)):
        name = "min_scores.calibration_error"
        asked = Gates(min_scores={"calibration_error": limit})
        (found,) = (each for each in gates.judge(asked, facts, CHECKED, None) if each.name == name)
        assert found.passed is passed and found.wanted == f"at most {limit:g}"
    with pytest.raises(ValueError, match="norm_outliers, uniformity: better when low; put a limit into max_health"):
        Gates(min_health={"uniformity": -1, "norm_outliers": 0, "rankme": 2})


def test_an_inexact_audit_other_embeddings_and_a_wrong_signature_fail(first):
    facts = first[0].review.facts
    lineage = facts.lineage.model_copy(update={"audit": "NOT exact: 3 skipped", "audit_exact": False})
    judged = gates.judge(Gates(), facts.model_copy(update={"lineage": lineage}), CHECKED, None)
    found = {each.name: each for each in judged}
    assert found["audit"].passed is False and found["audit"].measured == "NOT exact: 3 skipped"
    assert found["embeddings"].passed is False and found["embeddings"].measured == "0.01 on 2 examples"
    unsigned = CHECKED.model_copy(update={"signature": "MLmodel: its signature gives another shape"})
    found = {each.name: each for each in gates.judge(Gates(), facts, unsigned, None)}
    assert found["loads"].passed is False and found["loads"].why == unsigned.signature
    unstored = CHECKED.model_copy(update={"max_difference": None, "not_checked": ("embeddings: none stored",)})
    found = {each.name: each for each in gates.judge(Gates(), facts, unstored, None)}
    assert found["embeddings"].passed is False and found["embeddings"].why == "embeddings: none stored"


def test_the_first_promotion_is_judged_by_its_floors(first):
    good, poor, _ = first
    for case in (good, poor):
        lost = gate(case, f"max_regression.{HEADLINE}")
        assert lost.passed is None and lost.why.startswith("first promotion")
        assert case.review.verdict.endswith(", no champion yet")
    assert good.review.failed == () and poor.review.failed == ("floors",)


def test_gates_license_and_provenance_come_from_a_file_too(first, tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text("review:\n  enforced: true\n  license: CC0\n  gates:\n    min_scores: {a: 0.5}\n")
    case = first[2](1, review.load(path))
    assert (case.review.facts.data.license, case.review.facts.data.provenance) == ("CC0", "a test")
    assert review.load(path).gates.min_scores == {"a": 0.5} and review.load(path).enforced
    path.write_text("gates:\n  min_score: {a: 0.5}\n")
    with pytest.raises(UserError, match="did you mean 'min_scores'"):
        review.load(path)
    with pytest.raises(UserError, match="No such file"):
        review.load(tmp_path / "absent.yaml")
