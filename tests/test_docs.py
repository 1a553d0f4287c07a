"""What the documentation says is there, is there: paths, code, recipes, command lines, keys, tables."""

import argparse
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest

from pipelines import __main__
from pipelines.config import plain_yaml, recipe_file
from pipelines.config.parse import load_keys, parse, parse_as, read_tree
from pipelines.config.run import RunConfig
from pipelines.evaluate.any_model import EvaluationConfig
from ssl_core import catalog
from tests.benchmarks import campaigns, record, results, tables
from tests.pipelines.model.test_embedding_folder import embedded
from tests.support import pages, registry
from tests.support.images import encoded
from tests.support.pages import PAGES, REPOSITORY

PLACEHOLDERS = {"PATH", "RECIPE", "MODEL"}
OF_THE_USER = {"recipe.yaml"}
"""Recipes that the pages tell the user to write."""
FOREIGN = {"--app-name"}
"""Options of other programs that the pages name inside a line."""
NO_KEYS = {"encoder.onnx", "encoder.onnx.json", "review.html", "review.json", "review.decided", "tune.decoded_cache_mb"}
"""What looks like a key: files, a tag, and one that is accepted and ignored."""
COMPONENTS = (
    "pipelines.data.sources",
    "ssl_core.augment",
    "ssl_core.encoders",
    "ssl_core.methods",
    "ssl_core.evaluate",
)
each_page = pytest.mark.parametrize("page", PAGES, ids=pages.name)


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200


@each_page
def test_paths_and_links_exist(page: Path) -> None:
    missing = [path for path in pages.paths(page) if not any(REPOSITORY.glob(path.rstrip("/")))]
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in pages.anchors(target)):
            missing.append(link)
    known = [path.as_posix() for package in pages.PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    for code in pages.inline(page):
        if (
            re.fullmatch(r"[\w/]+\.py", code)
            and "NAME" not in code
            and not any(path.endswith(f"/{code}") for path in known)
        ):
            missing.append(code)
    assert not missing


@each_page
def test_modules_and_their_names_exist(page: Path) -> None:
    for dotted in pages.dotted(page):
        parts = dotted.split(".")
        depth = max(n for n in range(1, len(parts) + 1) if _module(parts[:n]) is not None)
        module, names = _module(parts[:depth]), parts[depth:]
        assert module is not None and all(re.search(rf"\b{each}\b", module.read_text()) for each in names), dotted


def _module(parts: list[str]) -> Path | None:
    path = REPOSITORY.joinpath(*parts)
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((each for each in found if each.exists()), None)


def test_every_sub_package_has_its_line() -> None:
    said = (REPOSITORY / "docs" / "architecture.md").read_text()
    for package in ("pipelines", "ssl_core", "cluster"):
        for folder in sorted({path.parent for path in (REPOSITORY / package).rglob("*.py")}):
            assert f"{folder.relative_to(REPOSITORY).as_posix()}/" in said or folder.name == package, folder


def test_the_import_layers_are_those_that_lint_enforces() -> None:
    said = (REPOSITORY / "docs" / "architecture.md").read_text()
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        if contract["type"] == "layers":
            layers = " > ".join(contract["layers"])
            layers = layers.replace("pipelines.", "").replace("ssl_core.", "") if ".." not in layers else layers
            assert re.search(rf"^\w+ +{re.escape(layers)}$", said, re.MULTILINE), layers
        if contract["type"] == "forbidden" and contract["source_modules"][0] in ("pipelines",):
            for line in contract["ignore_imports"]:
                module = line.split(" ")[0].replace(".", "/")
                assert f"`{module.removesuffix('**')}`" in said or f"`{module}.py`" in said, line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples find it: a storage with a registered version, a picture, an output of `embed`."""
    root = tmp_path_factory.mktemp("docs")
    config = registry.recipe(root / "selfray-runs", "digits-simclr")
    _, report = registry.pretrained(root / "selfray-runs", config)
    registry.register(config, root / "selfray-runs", report)
    (root / "photo.png").write_bytes(encoded(1))
    embedded(root / "made").rename(root / "embeddings")
    return root


@pytest.fixture
def mlflow_settings() -> Iterator[None]:
    """Leaves MLflow's address as it was."""
    from mlflow.tracking._tracking_service import utils

    uri, before = utils._tracking_uri, os.environ.get("MLFLOW_TRACKING_URI")
    yield
    utils._tracking_uri = uri
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.mark.usefixtures("mlflow_settings")
@pytest.mark.parametrize("page", sorted({block.page for block in pages.blocks("python")}), ids=pages.name)
def test_python_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    scope: dict[str, Any] = {"__name__": page.stem}
    for block in pages.blocks("python"):
        if block.page == page:
            exec(compile(block.text, pages.name(page), "exec"), scope)
    if "embeddings" in scope:
        assert len(scope["embeddings"]) and scope["embeddings"].dtype == "float32"
    if "table" in scope:
        assert list(scope["table"]) == ["sample_id", "path", "embedding"] and len(scope["table"])


@pytest.mark.parametrize("block", pages.blocks("yaml"), ids=lambda block: pages.name(block.page))
def test_yaml_is_a_recipe_or_a_part_of_one(block: pages.Block) -> None:
    tree = plain_yaml.load(block.text)
    if "encoder" in tree and "method" not in tree:  # of `evaluate MODEL --on DATA`
        parse_as(EvaluationConfig, {"name": "x", "model": "x", "on": "x", "source": {"name": "digits"}, **tree})
    else:
        parse(tree if "source" in tree else {**read_tree(recipe_file.find("digits")), **tree})


def verbs() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (a.choices for a in __main__._parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(choices)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return set(parser._option_string_actions)


@pytest.mark.parametrize(("page", "line"), pages.commands())
def test_command_lines_are_ones(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    options = __main__._parser().parse_args(words)  # ends the process where there is no such verb or flag
    recipe, foreign = getattr(options, "recipe", None), getattr(options, "on", None) or line.count("--verb embed")
    if recipe is None or recipe in PLACEHOLDERS | OF_THE_USER or foreign:
        recipe = "digits"
    load_keys(recipe, getattr(options, "set", {}))


@each_page
def test_commands_inside_a_line_exist(page: Path) -> None:
    known = verbs()
    anywhere = set().union(*map(flags, known.values()), FOREIGN)
    for code in pages.inline(page):
        given = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))
        if code.startswith("selfray "):
            verb = code.split()[1]
            assert verb in known and given <= flags(known[verb]), code
        elif not code.startswith(("uv ", "pytest ", "make ", "python ", "ray ", "kubectl ")):
            assert given <= anywhere, code


def test_readme_names_every_verb() -> None:
    (table,) = re.findall(
        r"^## All commands\n(.*?)^## ", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    named = {code.split()[0] for row in table.splitlines() for code in re.findall(r"`([^`]+)`", row)}
    assert set(verbs()) <= named


@each_page
def test_keys_exist(page: Path) -> None:
    """Dotted keys inside a line: of a section that is the product's, or of any component."""
    of_components = {key for place in COMPONENTS for each in catalog.names(place) for key in _keys(place, each)}
    for code in pages.inline(page):
        key = re.split(r"[=:]", code)[0]
        section, *rest = key.split(".")
        if not re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", key) or section not in RunConfig.model_fields or key in NO_KEYS:
            continue
        if section in ("source", "encoder", "method", "views"):
            assert set(rest[1 if section == "views" else 0 :]) <= of_components, key
        else:
            kinds = get_args(RunConfig.model_fields[section].annotation) or (
                RunConfig.model_fields[section].annotation,
            )
            assert rest[0] in kinds[0].model_fields, key


def _keys(place: str, name: str) -> set[str]:
    return set(catalog.config_type(place, name).model_fields)


def test_programs_in_blocks_exist() -> None:
    make = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    markers = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    for page in PAGES:
        said = page.read_text()
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", said, re.MULTILINE)) <= make, page
        assert set(re.findall(r"pytest -m (\w+)", said)) <= {line.split(":")[0] for line in markers}, page
        modules = re.findall(r"python -m ((?:tests|pipelines)[\w.]*\w)", said)
        assert all(find_spec(module) for module in modules), page


@pytest.mark.parametrize(
    ("page", "begin", "end", "made"),
    [
        (tables.PERFORMANCE, tables.BEGIN, tables.END, lambda: tables.section(record.load(record.FILE))),
        (tables.RESULTS, results.BEGIN, results.END, lambda: results.table(list(_rows(results.ROWS).values()))),
        (tables.RESULTS, campaigns.BEGIN, campaigns.END, lambda: campaigns.table(list(_rows(campaigns.ROWS).values()))),
        (
            tables.README,
            results.EXAMPLE_BEGIN,
            results.EXAMPLE_END,
            lambda: results.terminal(_rows(results.ROWS)[results.EXAMPLE]),
        ),
    ],
    ids=["performance", "results", "campaigns", "readme"],
)
def test_tables_are_what_was_recorded(page: Path, begin: str, end: str, made: Any) -> None:
    assert page.read_text().split(begin)[1].split(end)[0] == made()


def _rows(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def test_every_method_has_a_row() -> None:
    page = (REPOSITORY / "docs" / "methods.md").read_text()
    rows = "".join(line for line in page.splitlines() if line.startswith("|"))
    assert [name for name in catalog.names("ssl_core.methods") if f"`{name}`" not in rows] == []
