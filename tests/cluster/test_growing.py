"""A cluster that starts without workers: a run waits for one, and asks a node that comes late what it asked others."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from cluster import local_nodes
from pipelines.config.parse import parse
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.runtime.capacity import read_everywhere
from tests.support.commands import start, until
from tests.support.recipe import TREE


@pytest.fixture
def head() -> Iterator[Path]:
    """Folder of a cluster whose only node has no CPU to give."""
    folder = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
    try:
        local_nodes.up(folder, num_nodes=1, cpus_per_node=0)
        yield folder
    finally:
        local_nodes.down(folder)
        shutil.rmtree(folder, ignore_errors=True)


def ingested(head: Path, folder: Path, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Exit status and output of an ingest during which the first worker comes."""
    made = local_nodes.load(head)
    assert made is not None
    recipe, log = folder / "recipe.yaml", folder / "log"
    recipe.write_text(yaml.safe_dump({**TREE, "storage": str(folder / "store"), "ray": {"address": made.gcs}}))
    run = start(log, "ingest", str(recipe))
    try:
        assert until(lambda: "waiting up to 300 s for 1 CPUs (0 there)" in log.read_text(), 120), log.read_text()
        local_nodes.join(head, cpus=1, prefix=prefix)
        return run.wait(200), log.read_text()
    finally:
        run.kill()
        run.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_ingest_waits_for_the_first_worker(head, tmp_path):
    status, said = ingested(head, tmp_path)
    assert status == 0 and "ray: they are there" in said and "Error" not in said, said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_that_comes_late_with_a_storage_of_its_own_is_named(head, tmp_path):
    (tmp_path / "store").mkdir()
    empty = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {tmp_path}/store && exec "$0" "$@"')
    if not shutil.which("unshare") or subprocess.run([*empty, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    status, said = ingested(head, tmp_path, empty)
    assert status == 1 and f"storage: {tmp_path}/store: not one folder on all nodes" in said, said


def test_a_cluster_without_a_cpu_is_one_clear_line():
    with pytest.raises(UserError, match=r"^ray\.address: no node of the cluster has a CPU for tasks"):
        read_everywhere({"object_store_memory": 1e9})


def test_a_training_worker_that_does_not_see_the_storage_says_so(tmp_path):
    """Before it asks Ray anything, and without making the folder that is missing."""
    from pipelines.train.ray_worker import work

    here = ShardSet(
        digest="d", folder=tmp_path, num_train=1, num_test=1, num_classes=None, num_quarantined=0, num_duplicates=0
    )
    given = {"config": parse(TREE).model_dump(mode="json"), "shards": here.model_dump(mode="json")}
    with pytest.raises(UserError, match=rf"^storage: {tmp_path}/stage is not there on node .*; mount the storage on"):
        work({**given, "folder": str(tmp_path / "stage")})
    (tmp_path / "stage").mkdir()
    with pytest.raises(UserError, match=rf"^storage: {tmp_path}/manifest.json is not there"):
        work({**given, "folder": str(tmp_path / "stage")})
    assert list((tmp_path / "stage").iterdir()) == []
