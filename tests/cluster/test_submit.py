"""What travels to a cluster and under which name; what the nodes' answers mean."""

from pathlib import Path

import pytest
import yaml

from cluster.jobs import check_version
from cluster.submit import RECIPE, as_there, free_id, job_id, pack
from cluster.verbs.jobs import VERBS
from pipelines.config import load, parse
from pipelines.errors import UserError
from pipelines.stages.nodes import Seen, disagreements, source_paths
from tests.support.recipe import TREE


def test_the_id_follows_verb_and_config_but_not_the_way_there():
    config = parse(TREE)
    name = job_id("run", config)
    assert name == job_id("run", parse(TREE, {"ray.address": "auto", "ray.wait_seconds": 1}))
    others = [
        job_id("tune", config),
        job_id("run", parse(TREE, {"seed": 1})),
        job_id("run", parse(TREE, {"name": "b"})),
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
    config = as_there(parse(TREE, {"storage": "here"}))
    num_files, num_bytes = pack(config, tmp_path)
    shipped = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(shipped) == num_files and sum(path.stat().st_size for path in shipped) == num_bytes < 5e6
    assert {path.suffix for path in shipped} <= {".py", ".yaml", ".yml", ".json"}
    assert {path.name for path in tmp_path.iterdir()} == {"ssl_core", "pipelines", "cluster", RECIPE}
    assert load(tmp_path / RECIPE) == config, "the job reads what was meant here"
    assert yaml.safe_load((tmp_path / RECIPE).read_text())["ray"]["address"] == "auto"


def test_relative_paths_mean_what_they_mean_here_and_home_stays_home():
    changes = {"source": {"name": "image_folder", "path": "pictures"}, "storage": "~/runs"}
    config = as_there(parse(TREE, changes))
    assert config.source.path == Path.cwd() / "pictures" and config.storage == Path("~/runs")  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", VERBS)
def test_what_can_be_submitted_is_a_verb_that_reads_a_recipe(verb):
    from pipelines.__main__ import _parser

    assert _parser().parse_args([verb, "digits"]).recipe == "digits"


def test_a_cluster_with_another_ray_is_refused_by_version():
    check_version("http://a:1", "2.60.0")
    with pytest.raises(UserError, match=r"the cluster runs Ray 2\.53\.0, Selfray here is made for 2\.60"):
        check_version("http://a:1", "2.53.0")


def seen(name: str, **other: object) -> Seen:
    answer: dict[str, object] = {
        "node_id": name, "name": name, "resources": {"CPU": 1.0}, "versions": {"python": "3.11.9", "ray": "2.60.0"},
        "clock_ahead": 0.0, "missing": frozenset(), "unread": frozenset(), "cannot_write": "", "disk_free": 1,
        "tracking": "",
    }  # fmt: skip
    return Seen(**{**answer, **other})  # type: ignore[arg-type]


def test_nodes_that_cannot_work_together_are_named(tmp_path):
    config = parse(TREE, {"source": {"name": "image_folder", "path": str(tmp_path)}, "storage": "/store"})
    assert disagreements(config, [seen("a"), seen("b")]) == []
    (apart,) = disagreements(config, [seen("a", unread=frozenset({"b"})), seen("b"), seen("c", cannot_write="no")])
    assert "storage: /store: not one folder on all nodes: 2 of 3 nodes (a, c)" in apart
    (blind,) = disagreements(config, [seen("a"), seen("b", missing=frozenset({str(tmp_path)}))])
    assert f"source.path: {tmp_path}: exists on this node, but not on 1 of 2 nodes (b)" in blind
    (other,) = disagreements(config, [seen("a"), seen("b", versions={"python": "3.12.1", "ray": "2.60.0"})])
    assert "python: versions differ: 3.11.9 on a, 3.12.1 on b" in other


def test_of_a_pattern_the_folder_before_the_wildcard_is_looked_for(tmp_path):
    config = parse(TREE, {"source": {"name": "parquet", "path": str(tmp_path / "a" / "*" / "x.parquet")}})
    assert source_paths(config) == {"source.path": tmp_path / "a"}
