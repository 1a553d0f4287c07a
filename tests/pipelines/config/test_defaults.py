"""Defaults of all config classes, listed: stages are identified by what differs from them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from pipelines.config.chosen import chosen, dotted
from pipelines.config.evaluate import FineTuneConfig, RobustnessConfig
from pipelines.config.parse import parse
from pipelines.config.run import RunConfig, identity
from pipelines.data.ingest import INGEST
from pipelines.evaluate.evaluate import EVALUATE
from pipelines.train.pretrain import PRETRAIN
from ssl_core.catalog import find, names
from ssl_core.config import Config
from tests.support.recipe import TREE

LISTED = Path(__file__).with_name("defaults.json")
PLACES = (
    "pipelines.data.sources",
    "pipelines.evaluate.tasks",
    "ssl_core.augment",
    "ssl_core.encoders",
    "ssl_core.methods",
    "ssl_core.evaluate",
)
STAGES = (INGEST, PRETRAIN, EVALUATE)


def classes() -> Iterator[tuple[str, type[Config]]]:
    for key, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield key, field.annotation
    yield from (("evaluate.robustness", RobustnessConfig), ("evaluate.fine_tune", FineTuneConfig))
    for place in PLACES:
        yield from ((f"{place}.{name}", find(place, name).Config) for name in names(place))


def defaults() -> dict[str, Any]:
    """Of every key that decides what a stage makes, or belongs to a component."""
    found = {}
    for where, kind in classes():
        for key, field in kind.model_fields.items():
            name = f"{where}.{key}"
            decides = where.startswith(PLACES) or any(stage.decides(name) for stage in STAGES)
            if decides and key != "name" and not field.is_required() and field.default_factory is None:
                found[name] = to_jsonable_python(field.default)
    return found


def test_a_default_that_changed_raises_the_version_of_what_reads_it() -> None:
    """Stages done with the old default would else be taken for done with the new one."""
    now, listed = defaults(), json.loads(LISTED.read_text())
    changed = sorted(key for key in listed.keys() & now.keys() if listed[key] != now[key])
    assert not changed, "raise `version` of the stages that read these, then list them anew"
    assert now == listed, "python -m tests.pipelines.config.test_defaults lists them anew"


def test_a_key_at_its_default_decides_nothing(tmp_path: Path) -> None:
    given = parse(TREE, {"method.temperature": 0.1, "optim.weight_decay": 0.3})
    bare = parse({**TREE, "method": {k: v for k, v in TREE["method"].items() if k != "temperature"}})
    kept = dotted(chosen(given))
    assert kept["optim.weight_decay"] == 0.3 and kept["method.name"] == "simclr" and kept["views.eval.size"] == 8
    assert "method.temperature" not in kept and "ingest.shard_mb" not in kept
    said = parse(bare.model_dump(mode="json"))  # all keys written out
    assert identity(said) == identity(bare) != identity(given)
    assert PRETRAIN.deciding(said) == PRETRAIN.deciding(bare)
    assert PRETRAIN.deciding(given).keys() >= {"encoder.name", "views.global.name", "train.steps"}


def test_an_empty_section_is_not_null() -> None:
    null, empty = (parse(TREE, {"evaluate.robustness": value}) for value in (None, {}))
    assert EVALUATE.deciding(null) != EVALUATE.deciding(empty)


if __name__ == "__main__":
    LISTED.write_text(json.dumps(defaults(), indent=1, sort_keys=True) + "\n")
