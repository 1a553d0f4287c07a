"""Stages on a storage that an older Selfray has left."""

from pathlib import Path

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.stage import Artifact, Nothing, Stage
from pipelines.storage.inputs import RECORD, Inputs
from tests.support.recipe import TREE


class Written(Artifact):
    pass


def make(config: RunConfig, given: Nothing, folder: Path) -> Written:
    return Written(digest="new")


STAGE = Stage("example", 1, reads=("seed", "optim"), makes=Written, run=make)


def test_what_an_earlier_version_made_is_said_and_made_anew(tmp_path: Path, capsys) -> None:
    config = parse(TREE, {"storage": str(tmp_path), "tracking.when_unreachable": "outbox"})
    old = tmp_path / "example" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / RECORD).write_text(Written(digest="old").model_dump_json())
    keys = {
        key: value for key, value in STAGE.keys(config).items() if key != "optim.grad_clip"
    }  # a key that came later
    Inputs(run="older", keys=keys, given={}).keep(old)
    assert STAGE(config, Nothing(), tmp_path).digest == "new"
    assert f"example: {old} was made by an older Selfray; it is made anew" in capsys.readouterr().out
    STAGE(config, Nothing(), tmp_path)
    said = capsys.readouterr().out
    assert "example: reused" in said and "made anew" not in said
