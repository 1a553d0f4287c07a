"""A recipe is checked whole before anything starts; every mistake is one dotted line."""

import pytest
import yaml

from pipelines.config.flat import flat, flat_tree, nested
from pipelines.config.parse import load, parse
from pipelines.config.run import identity
from pipelines.errors import UserError
from ssl_core.catalog import find
from tests.support.recipe import TREE


def mistakes(changes: dict[str, object]) -> str:
    with pytest.raises(UserError) as caught:
        parse(TREE, changes)
    return str(caught.value)


def test_a_recipe_is_read_and_flattens_to_dotted_keys():
    config = parse(TREE, {"optim.lr": 3e-4})
    keys = flat(config)
    assert keys["optim.lr"] == 3e-4 and keys["method.name"] == "simclr" and keys["views.global.size"] == 8


def test_the_resolved_yaml_is_enough_to_run_again():
    config = parse(TREE)
    again = parse(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config and identity(again) == identity(config)


def test_all_mistakes_come_at_once_with_suggestions():
    text = mistakes({"method.temprature": 1, "optim.lr": -1, "encoder.name": "renset", "train.steps": "many"})
    assert "method.temprature: unknown key; did you mean 'temperature'?" in text
    assert "optim.lr: Input should be greater than 0" in text
    assert "did you mean 'resnet'?" in text
    assert "train.steps: Input should be a valid integer" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.num_workers": 3}, "global_batch_size 16 does not split over num_workers 3"),
        ({"train.num_workers": 4, "train.min_workers": 2}, "num_workers 3 x accumulate 1; min_workers 2 lets it"),
        ({"train.num_workers": 1, "train.min_workers": 2}, "min_workers 2 is more than num_workers 1"),
        ({"train.epochs": 2}, "give either epochs or steps"),
        ({"train.accumulate": 16}, "train.global_batch_size: 16 / accumulate 16 is 1 per micro-batch; method simclr"),
        ({"train.global_batch_size": 1}, "is 1 per micro-batch; method simclr compares samples and needs at least 2"),
        ({"views.eval.size": 16}, "reads views of one shape"),
        (
            {"views.eval": {"name": "image_crop", "size": 8}},
            "views.eval: image_crop draws at random",
        ),
        ({"views.gloabl": {"name": "image_crop", "size": 8}}, "views.gloabl: nobody reads it; method simclr reads glo"),
        ({"method": {"name": "mae"}}, "method mae needs a PatchEncoder; encoder convnet is not one"),
        ({"encoder": {"name": "vit", "patch_size": 3}}, "encoder.patch_size"),
        ({"optim.lr": "nan"}, "optim.lr"),
        ({"name": "has space"}, "name: String should match pattern"),
        ({"method": {"temperature": 1}}, "method: needs a 'name'"),
    ],
)
def test_each_mistake_names_its_key(changes, words):
    assert words in mistakes(changes)


def test_missing_eval_view_is_named():
    tree = {**TREE, "views": {"global": TREE["views"]["global"]}}
    with pytest.raises(UserError, match="views needs eval"):
        parse(tree)


def test_where_it_is_stored_does_not_change_its_identity():
    assert identity(parse(TREE, {"storage": "/elsewhere"})) == identity(parse(TREE))
    assert identity(parse(TREE, {"seed": 1})) != identity(parse(TREE))


def test_unknown_and_broken_recipes(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load("nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(UserError, match="not valid YAML"):
        load(broken)
    evil = tmp_path / "evil.yaml"
    evil.write_text("name: !!python/object/apply:os.system ['true']")
    with pytest.raises(UserError, match="not valid YAML"):
        load(evil)


def test_every_shipped_recipe_is_valid():
    from pathlib import Path

    import pipelines

    recipes = sorted((Path(pipelines.__file__).parent / "recipes").rglob("*.yaml"))
    assert recipes
    for path in recipes:
        head = path.read_text().split("\n\n")[0]
        assert head.startswith("# "), f"{path.name} needs a header"
        tree = yaml.safe_load(path.read_text())
        if "image" in find("pipelines.data.sources", tree["source"]["name"]).fields:
            tree["source"] = {"name": "digits"}  # its own may point to data that is not here
        parse(tree)


def test_dotted_keys_and_trees_are_each_other():
    tree = {"name": "a", "optim": {"lr": 0.1, "betas": [0.9, 0.99]}, "encoder": {"head": {"width": None}}}
    keys = {"name": "a", "optim.lr": 0.1, "optim.betas": [0.9, 0.99], "encoder.head.width": None}
    assert flat_tree(tree) == keys and list(flat_tree(tree)) == list(keys)
    assert nested(keys) == tree
    with pytest.raises(UserError, match="'name' lies inside a plain value"):
        nested({"encoder": "vit", "encoder.name": "vit"})
