"""What travels to a cluster and under which name; what the nodes' answers mean."""

import ast
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from safetensors.torch import save_file

from cluster.entrypoint import RECIPE, as_there, of_embedding, of_evaluation, of_recipe
from cluster.jobs import check_version
from cluster.submit import free_id, pack
from cluster.verbs.jobs import VERBS
from pipelines.__main__ import _parser, main
from pipelines.config import secret
from pipelines.config.parse import load, parse
from pipelines.errors import UserError
from pipelines.runtime import nodes
from pipelines.runtime.nodes import NodeReport, ahead, disagreements, paths_read
from pipelines.runtime.session import refusal
from pipelines.tracking import provenance
from pipelines.tracking.provenance import BROUGHT
from tests.support.recipe import TREE
from tests.support.tiny import image_spec


def test_the_id_follows_verb_and_config_but_not_the_way_there():
    config = parse(TREE)
    name = of_recipe("run", config).job_id
    assert name == of_recipe("run", parse(TREE, {"ray.address": "auto", "ray.wait_seconds": 1})).job_id
    others = [
        of_recipe("tune", config).job_id,
        of_recipe("run", parse(TREE, {"seed": 1})).job_id,
        of_recipe("run", parse(TREE, {"name": "b"})).job_id,
    ]
    assert len({name, *others}) == 4


def test_what_runs_or_is_done_is_refused_and_what_failed_gets_a_new_number():
    assert free_id("a", {}, again=False) == "a"
    assert free_id("a", {"a": "FAILED", "b": "RUNNING"}, again=False) == "a-2"
    assert free_id("a", {"a": "FAILED", "a-2": "STOPPED"}, again=False) == "a-3"
    assert free_id("a", {"a": "SUCCEEDED"}, again=True) == "a-2"
    for known in ({"a": "PENDING"}, {"a": "FAILED", "a-2": "RUNNING"}):
        with pytest.raises(UserError, match=r"is (pending|running) there already"):
            free_id("a", known, again=True)
    with pytest.raises(UserError, match="was done there already"):
        free_id("a", {"a": "STOPPED", "a-2": "SUCCEEDED"}, again=False)


def test_only_code_and_the_resolved_recipe_travel(tmp_path):
    config = parse(TREE, {"storage": "here"})
    num_files, num_bytes = pack(of_recipe("run", config), tmp_path)
    shipped = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(shipped) == num_files and sum(path.stat().st_size for path in shipped) == num_bytes < 5e6
    assert {path.suffix for path in shipped} <= {".py", ".yaml", ".yml", ".json"}
    assert {path.name for path in tmp_path.iterdir()} == {"ssl_core", "pipelines", "cluster", RECIPE, BROUGHT}
    assert load(tmp_path / RECIPE) == as_there(config), "the job reads what was meant here"
    assert yaml.safe_load((tmp_path / RECIPE).read_text())["ray"]["address"] == "auto"


def test_relative_paths_mean_what_they_mean_here_and_home_stays_home():
    changes = {"source": {"name": "image_folder", "path": "pictures"}, "storage": "~/runs"}
    config = as_there(parse(TREE, changes))
    assert config.source.path == Path.cwd() / "pictures" and config.storage == Path("~/runs")  # type: ignore[attr-defined]


def test_weights_are_found_and_missed_like_data(monkeypatch, tmp_path):
    """A relative encoder.weights is that of who submits, and is looked for on every node."""
    from ssl_core.catalog import find

    monkeypatch.chdir(tmp_path)
    network = find("ssl_core.encoders", "torchvision")(
        find("ssl_core.encoders", "torchvision").Config(model="resnet18"), image_spec(3, 32, 32)
    )
    save_file(network.network.state_dict(), "resnet18.safetensors")
    views = {"global": {"name": "image_crop_jitter", "size": 32}, "eval": {"name": "image_eval", "size": 32}}
    encoder = {"name": "torchvision", "model": "resnet18", "weights": "resnet18.safetensors"}
    config = parse({**TREE, "encoder": encoder, "views": views})
    weights = tmp_path / "resnet18.safetensors"
    assert yaml.safe_load(of_recipe("run", config).files[RECIPE])["encoder"]["weights"] == str(weights)
    assert paths_read(config) == {"encoder.weights": weights}
    (blind,) = disagreements(config, [seen("a"), seen("b", missing=frozenset({str(weights)}))])
    assert f"encoder.weights: {weights}: exists on this node, but not on 1 of 2 nodes (b)" in blind


def test_what_ran_is_known_where_there_is_no_checkout(tmp_path):
    """The commit, its changes without what is secret, and who submitted it."""
    pack(of_recipe("run", parse(TREE)), tmp_path)
    script = "from pipelines.tracking import provenance as p; print(repr((tuple(p.commit()), p.user())))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "USER": "cluster", "LOGNAME": "cluster"}
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    here = provenance.commit()
    assert here.commit, "this is a checkout"
    expected = (here.commit, here.branch, here.dirty, secret.masked(here.patch))
    assert ast.literal_eval(told.stdout.decode()) == (expected, provenance.user())


def test_a_brought_patch_holds_no_password(monkeypatch, tmp_path):
    there = provenance.Commit("c0ffee", "trunk", True, "+see https://me:an0ther-0ne@mlflow.example/base")
    monkeypatch.setattr(provenance, "commit", lambda: there)
    provenance.bring(tmp_path)
    assert "c0ffee" in (text := (tmp_path / BROUGHT).read_text()) and "an0ther-0ne" not in text


EMBED = {"input": Path("photos"), "column": None, "output": Path("~/made"), "tracking_uri": "http://mlflow:5000",
         "num_actors": 2, "batch_size": None, "shard_mb": None}  # fmt: skip


def test_a_job_that_embeds_says_what_is_meant_here_and_parses(tmp_path):
    job = of_embedding("digits-simclr@candidate", EMBED)
    options = _parser().parse_args([job.verb, *job.arguments])
    assert (options.version, options.num_actors, options.batch_size) == ("digits-simclr@candidate", 2, 64)
    assert (options.input, options.output) == (Path.cwd() / "photos", Path("~/made"))
    assert options.ray_address == "auto" and options.tracking_uri == "http://mlflow:5000"
    assert job.job_id.startswith("selfray-embed-digits-simclr-candidate-") and job.files == {}
    assert job.job_id == of_embedding("digits-simclr@candidate", EMBED).job_id
    assert job.job_id != of_embedding("digits-simclr@candidate", {**EMBED, "column": "picture"}).job_id
    packed = of_embedding(str(tmp_path), {**EMBED, "tracking_uri": None})
    assert packed.arguments[0] == str(tmp_path) and "--tracking-uri" not in packed.arguments
    with pytest.raises(UserError, match=r"^--tracking-uri: holds a login, which does not travel with a job"):
        of_embedding("a", {**EMBED, "tracking_uri": "http://me:an0ther-0ne@mlflow:5000"})
    with pytest.raises(UserError, match=r"^--input: embed needs it"):
        of_embedding("a", {**EMBED, "input": None})


def test_a_job_that_scores_a_model_says_what_is_meant_here_and_parses():
    job = of_evaluation("digits@champion", Path("data"), {"seed": 3, "evaluate.seeds": [1, 2]})
    options = _parser().parse_args([job.verb, *job.arguments])
    assert (options.recipe, options.on) == ("digits@champion", str(Path.cwd() / "data"))
    storage = str(Path.cwd() / "selfray-runs")
    assert options.set == {"seed": 3, "evaluate.seeds": [1, 2], "storage": storage, "ray.address": "auto"}
    assert job.storage == Path(storage) and job.job_id.startswith("selfray-evaluate-digits-champion-on-data-")


def test_the_yaml_of_a_foreign_encoder_travels_with_the_place_of_its_weights(tmp_path):
    written = {"encoder": {"name": "torchvision", "model": "resnet50", "weights": "w.pt"}, "seed": 1}
    (tmp_path / "r50.yaml").write_text(yaml.safe_dump(written))
    job = of_evaluation(str(tmp_path / "r50.yaml"), Path("/data"), {"seed": 2})
    assert job.arguments == ("r50.yaml", "--on", "/data")
    there = yaml.safe_load(job.files["r50.yaml"])
    assert there["encoder"]["weights"] == str(Path.cwd() / "w.pt") and there["seed"] == 2
    assert there["ray"] == {"address": "auto"} and there["storage"] == str(Path.cwd() / "selfray-runs")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--input", "a"), "--input: is for embedding; add --verb embed"),
        (("--on", "a"), "--on: is for evaluating; add --verb evaluate"),
        (("--verb", "embed", "--set", "seed=1"), "--set: embed reads no recipe"),
        (("--verb", "embed"), "--input: embed needs it"),
    ],
)
def test_options_of_another_verb_are_refused(more, words, capsys):
    assert main(["submit", "digits", *more]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "embed"])
def test_what_can_be_submitted_is_a_verb_that_reads_a_recipe(verb):
    assert _parser().parse_args([verb, "digits"]).recipe == "digits"


def test_a_cluster_with_another_ray_is_refused_by_version():
    check_version("http://a:1", "2.60.0")
    with pytest.raises(UserError, match=r"the cluster runs Ray 2\.53\.0, Selfray here is made for 2\.60"):
        check_version("http://a:1", "2.53.0")


def test_a_driver_with_another_ray_or_python_is_refused_with_both_versions():
    """In Ray's own words, which are seven lines."""
    from ray._private.utils import check_version_info

    with pytest.raises(RuntimeError) as raised:
        check_version_info({"ray_version": "2.53.0", "python_version": "3.12.1"}, "node a")
    line = refusal(str(raised.value))
    assert line.startswith("versions differ: The cluster was started with: Ray: 2.53.0 Python: 3.12.1 This process")
    assert f"Ray: {version('ray')} Python: {platform.python_version()}" in line and "\n" not in line
    assert refusal("Could not reach it\nat all") == "no cluster answers (Could not reach it)"
    assert refusal("") == "no cluster answers (no reason given)"


def seen(name: str, **other: object) -> NodeReport:
    answer: dict[str, object] = {
        "node_id": name, "name": name, "resources": {"CPU": 1.0}, "versions": {"python": "3.11.9", "ray": "2.60.0"},
        "clock_ahead": 0.0, "missing": frozenset(), "unread": frozenset(), "cannot_write": "", "disk_free": 1,
        "tracking": "",
    }  # fmt: skip
    return NodeReport(**{**answer, **other})  # type: ignore[arg-type]


def test_nodes_that_cannot_work_together_are_named(tmp_path):
    config = parse(TREE, {"source": {"name": "image_folder", "path": str(tmp_path)}, "storage": "/store"})
    assert disagreements(config, [seen("a"), seen("b")]) == []
    (apart,) = disagreements(config, [seen("a", unread=frozenset({"b"})), seen("b"), seen("c", cannot_write="no")])
    assert "storage: /store: not one folder on all nodes: 2 of 3 nodes (a, c)" in apart
    (blind,) = disagreements(config, [seen("a"), seen("b", missing=frozenset({str(tmp_path)}))])
    assert f"source.path: {tmp_path}: exists on this node, but not on 1 of 2 nodes (b)" in blind
    (other,) = disagreements(config, [seen("a"), seen("b", versions={"python": "3.12.1", "ray": "2.60.0"})])
    assert "python: versions differ: 3.11.9 on a, 3.12.1 on b" in other


def test_a_clock_is_off_by_what_the_asking_cannot_explain():
    assert ahead(100.5, asked=100.0, answered=101.0) == 0
    assert ahead(97.0, asked=100.0, answered=100.1) == -3
    assert ahead(103.1, asked=100.0, answered=100.1) == pytest.approx(3)


@pytest.mark.usefixtures("ray_session")
def test_a_clock_that_is_off_is_seen_although_the_first_task_is_slow(monkeypatch, tmp_path):
    """This process's own clock stands for one that is late by five seconds."""
    late = SimpleNamespace(time=lambda: time.time() - 5)
    monkeypatch.setattr(nodes, "time", late)
    (only,) = nodes.ask(tmp_path, [])
    assert only.clock_ahead == pytest.approx(5, abs=2)


def test_of_a_pattern_the_folder_before_the_wildcard_is_looked_for(tmp_path):
    config = parse(TREE, {"source": {"name": "parquet", "path": str(tmp_path / "a" / "*" / "x.parquet")}})
    assert paths_read(config) == {"source.path": tmp_path / "a"}
