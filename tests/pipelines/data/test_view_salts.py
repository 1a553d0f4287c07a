"""A view is finished by the draws that made it, wherever it is finished."""

import numpy as np
import pytest
import torch

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.reading import Arrays
from pipelines.evaluate.features import training_views
from pipelines.evaluate.features.encode import Subject
from pipelines.tuning.trials.objective import NUM_VIEWS, Objective
from ssl_core.build import build_chain, build_method
from ssl_core.noise import view_salt
from tests.support.pictures import picture
from tests.support.recipe import TREE

IDS = np.arange(40) + 7
IMAGES = [picture(24, 24, seed) for seed in range(len(IDS))]


def config_of(where: str) -> RunConfig:
    return parse(TREE, {"views.global": {"name": "image_crop_jitter", "size": 8, "where": where}, "seed": 3})


def arrays(config: RunConfig, kinds: tuple[str, ...]) -> Arrays:
    """As `read_piece` makes them."""
    chains = [build_chain(config.views[kind]) for kind in kinds]
    views = {f"view{i}": chain(IMAGES, IDS, view_salt(config.seed, 0, i)) for i, chain in enumerate(chains)}
    return {"sample_id": IDS, "planned_id": IDS, **views}


def test_features_of_training_views_do_not_depend_on_where_the_color_is_made() -> None:
    found = []
    for where in ("data", "worker"):
        config = config_of(where)
        encode = training_views._Encode(config, Subject("random_init", ""), "global")
        with torch.no_grad():
            found.append(torch.stack([encode(arrays(config, ("global",) * 3), i) for i in range(3)]))
    assert found[0].std(dim=1).min() > 1e-3
    assert (found[0] - found[1]).norm() < 0.05 * (found[0] - found[0].mean(dim=1, keepdim=True)).norm()


def test_looks_at_a_trial_do_not_depend_on_where_the_color_is_made() -> None:
    found = []
    for where in ("data", "worker"):
        config = config_of(where)
        given = arrays(config, ("eval",)), arrays(config, ("global",) * NUM_VIEWS)
        chains = build_chain(config.views["eval"]), build_chain(config.views["global"])
        eye = Objective(*given, chains, None, 0.5, torch.device("cpu"), seed=config.seed)
        found.append(eye(build_method(config.method, config.encoder, config.views))["alignment"])
    assert found[0] == pytest.approx(found[1], rel=0.02)
