"""A version's files, sha256 and stored embeddings, checked in a clean process that unpickles and runs nothing."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.data.shards.schema import samples as sample_schema
from pipelines.errors import UserError
from pipelines.model import examples, versions
from pipelines.model.card_file import CARD, WEIGHTS, write_card
from pipelines.model.check import check
from pipelines.model.embedder import Embedder
from pipelines.model.examples import EXAMPLES
from pipelines.tracking.server import connect
from tests.support.images import encoded
from tests.support.registry import pretrained, recipe, register

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def registered(mlflow_server, tmp_path_factory):
    """(tracking URI, the packed folder, the version's URI)."""
    root = tmp_path_factory.mktemp("registry")
    config = recipe(root, "checked", **{"tracking.uri": mlflow_server.uri})
    made = register(config, root, pretrained(root, config)[1])
    return mlflow_server.uri, next((root / "register").glob("*/model")), made.uri


@pytest.fixture
def packed(registered, tmp_path):
    """A copy to tamper with."""
    return Path(shutil.copytree(registered[1], tmp_path / "model"))


def test_a_registered_version_passes(registered):
    uri, folder, version = registered
    found = check(version, tracking_uri=uri, batch_size=4)
    assert found.passed and found.problems == () and found.not_checked == ()
    assert found.sha256_ok and found.files_ok and found.loads and found.reproduces
    assert found.max_difference is not None and found.max_difference < 1e-5
    assert found.num_examples == 5 and found.batch_size == 4 and found.threads >= 1
    assert found.latency_ms is not None and 0 < found.latency_ms < 1000
    assert found.num_bytes > sum(path.stat().st_size for path in folder.iterdir())
    listed = versions.find("checked", uri).files
    assert {"MLmodel", "pyfunc.py", f"artifacts/{CARD}", f"artifacts/{WEIGHTS}", f"artifacts/{EXAMPLES}"} <= set(listed)


class Shell:
    """What a malicious pickle holds: a command that runs while it is read."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def test_nothing_is_unpickled(packed, tmp_path):
    proof = tmp_path / "it ran"
    (packed / "model.pkl").write_bytes(pickle.dumps(Shell(proof)))
    (packed / "harmless").write_bytes(pickle.dumps({"a": 1}))
    found = check(packed)
    assert found.loads and found.reproduces and not found.passed
    assert found.files_ok is False  # that is known without a list of registered files
    assert found.problems == (
        "harmless: a pickle; other loaders would run it",
        "model.pkl: a pickle; other loaders would run it",
    )
    for name in (WEIGHTS, EXAMPLES, CARD):  # in the place of what is read
        honest = (packed / name).read_bytes()
        (packed / name).write_bytes(pickle.dumps(Shell(proof)))
        card = json.loads((packed / CARD).read_text()) if name != CARD else {}
        if card:  # with a card that goes with it
            card |= {"sha256": versions.sha256_of(packed / WEIGHTS), "examples": versions.sha256_of(packed / EXAMPLES)}
            (packed / CARD).write_text(json.dumps(card))
        assert not check(packed).loads
        (packed / name).write_bytes(honest)
        if card:
            card |= {"sha256": versions.sha256_of(packed / WEIGHTS), "examples": versions.sha256_of(packed / EXAMPLES)}
            (packed / CARD).write_text(json.dumps(card))
    assert not proof.exists()
    os.system(f"touch '{proof}'")
    assert proof.exists()  # the command would have left this


UNPICKLES = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
from pipelines.model import clean_process
sys.addaudithook(clean_process._refuse)
pickle.loads(open(sys.argv[2], "rb").read())
"""


def test_the_clean_process_dies_before_it_unpickles_or_starts_a_program(tmp_path):
    proof = tmp_path / "it ran"
    (tmp_path / "x").write_bytes(pickle.dumps(Shell(proof)))
    repository = str(Path(__file__).parents[3])
    command = [sys.executable, "-I", "-c", UNPICKLES, repository, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "the artifact tried to run code (pickle.find_class" in done.stderr
    assert not proof.exists()


def test_tampered_weights_are_named_and_not_loaded(packed):
    weights = load_file(packed / WEIGHTS)
    save_file({name: tensor + 0.5 for name, tensor in weights.items()}, packed / WEIGHTS)
    found = check(packed)
    assert not found.sha256_ok and not found.loads and found.latency_ms is None
    (problem,) = found.problems
    assert problem.startswith("encoder.safetensors: its sha256 is") and problem.endswith("do not use it")


def test_changed_settings_show_in_the_embeddings(packed):
    card = Embedder(packed).card
    write_card(packed, card.model_copy(update={"view": {**card.view, "crop_fraction": 0.5}}))
    found = check(packed)
    assert found.sha256_ok and found.loads and found.reproduces is False
    (problem,) = found.problems
    assert problem.startswith("embeddings differ from the stored ones by")


def test_an_emptied_artifact_is_noticed(mlflow_server, tmp_path):
    """MLflow says READY and serves what is left."""
    config = recipe(tmp_path, "gone", **{"tracking.uri": mlflow_server.uri})
    made = register(config, tmp_path, pretrained(tmp_path, config)[1])
    model = versions.find(made.uri, mlflow_server.uri).model_id
    kept = mlflow_server.artifacts_of(model)
    weights = kept / "artifacts" / WEIGHTS
    honest = weights.read_bytes()
    weights.write_bytes(b"")
    found = check(made.uri, tracking_uri=mlflow_server.uri)
    assert not found.loads and not found.files_ok
    assert "encoder.safetensors: missing or empty; the artifact is gone, register it again" in found.problems
    weights.write_bytes(honest)
    (kept / "pyfunc.py").write_text("print('other code')")
    (kept / "artifacts" / "extra.txt").write_text("x")
    found = check(made.uri, tracking_uri=mlflow_server.uri)
    assert found.loads and found.reproduces and not found.files_ok
    assert found.problems == (
        "artifacts/extra.txt: was not registered; somebody added it",
        "pyfunc.py: not what was registered",
    )
    shutil.rmtree(kept)
    assert connect(mlflow_server.uri).get_model_version("gone", "1").status == "READY"
    found = check(made.uri, tracking_uri=mlflow_server.uri)
    assert not found.passed and not found.loads and found.num_bytes == 0
    assert "config.json: missing or empty; the artifact is gone, register it again" in found.problems


def signed(width: int) -> str:
    outputs = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, width]}}]
    return json.dumps({"signature": {"outputs": json.dumps(outputs)}})


def test_a_signature_of_another_width_is_noticed(packed):
    (packed / "artifacts").mkdir()
    for name in (CARD, WEIGHTS, EXAMPLES):
        (packed / name).rename(packed / "artifacts" / name)
    (packed / "MLmodel").write_text(signed(16))
    assert check(packed / "artifacts").passed and check(packed).problems == ()
    (packed / "MLmodel").write_text(signed(8))
    assert check(packed).problems == (
        "MLmodel: its signature gives embeddings of shape [-1, 8], config.json says [-1, 16]",
    )
    (packed / "MLmodel").write_text("flavors: {}")
    assert check(packed).problems[0].startswith("MLmodel: its signature cannot be read")


def test_an_older_version_without_examples_says_so(packed):
    (packed / EXAMPLES).unlink()
    assert check(packed).problems == ("examples.safetensors: missing, or not what config.json says",)
    write_card(packed, Embedder(packed).card.model_copy(update={"examples": ""}))
    found = check(packed)
    assert found.passed and found.loads and found.reproduces is None and found.max_difference is None
    assert "embeddings: no examples stored with this model (registered by an older Selfray)" in found.not_checked
    assert found.latency_ms is not None  # on drawn pictures


def test_a_model_that_hangs_is_ended(packed):
    found = check(packed, timeout_s=0.05)
    assert not found.loads
    assert found.problems == ("does not load: the clean process took more than 0.05 s",)


def test_embeddings_of_ones_own(packed, tmp_path):
    images = [encoded(seed, 20, 30) for seed in range(3)]
    examples.write(tmp_path / "own.safetensors", images, Embedder(packed).embed_files(images))
    assert check(packed, tmp_path / "own.safetensors").num_examples == 3
    examples.write(tmp_path / "own.safetensors", images, np.zeros((3, 16), np.float32))
    assert check(packed, tmp_path / "own.safetensors").reproduces is False
    found = check(packed, tmp_path / "nothing")
    assert found.problems == (f"{tmp_path / 'nothing'}: missing; it was to be compared with",)


def test_unknown_versions_are_one_clear_line(registered):
    uri, _, _ = registered
    for written, said in (
        ("checked@champion", r"^checked@champion: .*champion.* not found"),
        ("nobody", r"^nobody@candidate: .*nobody"),
        ("checked/99", r"^checked/99: .*99"),
        ("checked@", "write it as NAME, NAME@alias or NAME/VERSION"),
    ):
        with pytest.raises(UserError, match=said) as error:
            check(written, tracking_uri=uri)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"^checked@candidate: .*127\.0\.0\.1"):
        check("checked", tracking_uri="http://127.0.0.1:9")


def test_held_out_examples_come_from_the_test_split_alone(tmp_path):
    images = [encoded(seed) for seed in range(7)]
    (tmp_path / "test").mkdir()
    files = []
    for number, rows in enumerate((images[:4], images[4:])):
        table = pa.table([range(len(rows)), rows, [""] * len(rows)], schema=sample_schema("image"))
        pq.write_table(table, tmp_path / f"test/{number}.parquet")
        files.append(ShardFile(path=f"test/{number}.parquet", row_groups=(len(rows),), num_bytes=1, sha256="",
                               labels_path=None, labels_sha256=None))  # fmt: skip
    listing = Manifest(source={}, train=(), test=tuple(files), classes=None, num_quarantined=0, num_duplicates=0)
    assert examples.held_out(tmp_path, listing, 3) == [images[0], images[3], images[6]]
    assert examples.held_out(tmp_path, listing, 100) == images
    with pytest.raises(UserError, match=r"registry\.examples: these shards have no test samples"):
        examples.held_out(tmp_path, listing.model_copy(update={"test": ()}), 3)
