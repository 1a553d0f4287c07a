"""What a run says when it has no room, or another place than was meant, on a real Ray."""

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from pipelines.config.parse import parse
from pipelines.errors import UserError
from pipelines.runtime import nodes
from pipelines.runtime import waiting as room
from pipelines.runtime.waiting import PlacementWatch
from pipelines.train import pretrain
from tests.support.recipe import TREE

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(room, "WAIT_S", 0.0)
    monkeypatch.setattr(room, "LOOK_S", 0.0)


def test_workers_that_wait_for_room_say_what_they_need_and_what_is_free(impatient):
    said: list[str] = []
    waiting = placement_group([{"CPU": 99}])
    try:
        one = PlacementWatch({"CPU": 99, "GPU": 2})
        one.poll(said.append)
        one.poll(said.append)
        (line,) = said  # once: it is said rarely
        assert line.startswith("no room for workers for 0 s: they need 99 CPU and 2 GPU, free are 4 CPU and 0 GPU; ")
    finally:
        remove_placement_group(waiting)


def test_workers_that_have_room_say_nothing(impatient):
    said: list[str] = []
    held = placement_group([{"CPU": 1}])
    try:
        ray.get(held.ready(), timeout=60)
        PlacementWatch({"CPU": 1}).poll(said.append)
        assert not said
    finally:
        remove_placement_group(held)


def test_a_joined_cluster_without_gpus_is_said_to_train_on_cpus(capsys):
    assert not pretrain.fits(parse(TREE, {"ray.address": "auto"}))
    assert "no GPU there now: training on CPUs; train.device=cuda waits for them" in capsys.readouterr().out
    for changes in ({}, {"ray.address": "auto", "train.device": "cpu"}):
        pretrain.fits(parse(TREE, changes))
    assert capsys.readouterr().out == "", "nobody hoped for one there"
    with pytest.raises(UserError, match="1 workers need 1 GPUs, the cluster has 0"):
        pretrain.fits(parse(TREE, {"ray.address": "auto", "train.device": "cuda", "ray.wait_seconds": 0}))


def test_a_node_that_is_about_to_leave_is_not_asked(monkeypatch, tmp_path):
    (only,) = nodes.ask(tmp_path, [])
    assert nodes.leaving() == set()
    monkeypatch.setattr(nodes, "leaving", lambda: {only.node_id})
    assert nodes.ask(tmp_path, []) == []
