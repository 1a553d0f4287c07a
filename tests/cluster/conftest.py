"""Three Ray nodes on this machine, shared by the tests of a module; none is taken for that of another Ray."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cluster import local_nodes
from cluster.local_nodes import Cluster
from tests.support.recipe import TREE


class Here(NamedTuple):
    folder: Path
    made: Cluster
    recipe: str
    """Two workers, on the cluster's storage."""
    storage: Path

    @property
    def at(self) -> tuple[str, str]:
        return "--address", self.made.address


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))  # short: Ray puts sockets below it
    shared = tmp_path_factory.mktemp("shared")
    recipe, storage = shared / "recipe.yaml", shared / "store"
    storage.mkdir()
    train = {**TREE["train"], "num_workers": 2, "checkpoint_seconds": 0.5, "threads": 1}
    recipe.write_text(yaml.safe_dump({**TREE, "storage": str(storage), "train": train}))
    try:
        yield Here(folder, local_nodes.up(folder, num_nodes=3, cpus_per_node=2), str(recipe), storage)
    finally:
        local_nodes.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
