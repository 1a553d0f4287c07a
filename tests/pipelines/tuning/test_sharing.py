"""Trials on a real Ray Tune that share decoded pixels: what they train is the same, and nothing is left on the node."""

from pathlib import Path

import pytest

from pipelines.config.parse import parse
from pipelines.data import ingest
from pipelines.data.batches.decoded_cache import DecodedCache
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.stage import Nothing
from pipelines.storage import checkpoint
from pipelines.tuning import space
from pipelines.tuning.campaign import Campaign
from pipelines.tuning.plan import Plan, decoded_cache
from pipelines.tuning.trials import sharing
from pipelines.tuning.trials.ray_tune import run_trials
from pipelines.tuning.tune import work_of
from tests.support.recipe import TREE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CONFIG = parse(
    TREE,
    {
        "train.steps": 100,  # of 89 in an epoch
        "tune": {
            "space": {"method.temperature": {"choice": [0.1, 0.5]}},
            **{"searcher": "grid", "scheduler": "none", "looks": 1, "samples": 64, "view_samples": 16},
        },
    },
)


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory) -> ShardSet:
    return ingest.run(CONFIG, Nothing(), tmp_path_factory.mktemp("shards"))


def trained(shards: ShardSet, folder: Path, decoded: DecodedCache | None) -> list[str]:
    """The digest of each trial's last checkpoint."""
    plan = Plan(recipe=space.tree(CONFIG), tune=space.section(CONFIG), shards=shards, decoded=decoded)
    folder.mkdir()
    plan.keep(folder)
    campaign = Campaign(plan, folder, CONFIG.seed, work_of(shards, folder))
    run_trials(campaign, campaign.next_search, CONFIG, 2)
    assert [trial.state for trial in campaign.trials] == ["done", "done"]
    newest = [checkpoint.latest(trial.work / "checkpoints")[0] for trial in campaign.trials]
    return [checkpoint.digest(path) for path in newest if path]


def test_trials_share_decoded_pixels_until_the_campaign_ends(shards, tmp_path, capsys):
    cache = decoded_cache(space.section(CONFIG), shards, tmp_path / "shared")
    assert cache is not None
    (cache.folder / "left by a driver that was killed").mkdir(parents=True)
    with sharing.on_all_nodes(cache):
        assert not cache.folder.exists()
        shared = trained(shards, tmp_path / "shared", cache)
        num_groups = sum(len(file.row_groups) for file in manifest.load(shards.folder).train)
        assert len(list(cache.folder.glob("*.pixels"))) == num_groups and not cache.is_full
    assert not cache.folder.exists()
    said = " ".join(capsys.readouterr().out.split())
    assert "tune: trials shared 0 MB of decoded pixels, of at most" in said and "did not fit" not in said
    assert shared == trained(shards, tmp_path / "alone", None) and len(set(shared)) == 2


def test_it_can_be_turned_off_and_limited(tmp_path):
    shards = ShardSet(digest="d", folder=tmp_path, num_train=9, num_test=1, num_classes=2, num_quarantined=0,
                      num_duplicates=0)  # fmt: skip
    given = [parse(CONFIG.model_dump(mode="json"), {"tune.decoded_cache_mb": value}) for value in (0, "300", "auto")]
    off, some, derived = (decoded_cache(space.section(config), shards, tmp_path) for config in given)
    assert off is None and some and some.limit_mb == 300 and derived and derived.limit_mb is None
