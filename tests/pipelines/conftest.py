"""A real MLflow server, shared by the tests that need one, and models in it that reviewers decide on."""

import itertools
from collections.abc import Iterator

import pytest

from pipelines.registry import decisions
from pipelines.registry.registry import Registry
from pipelines.tracking.server import use
from tests.support.mlflow_server import MlflowServer
from tests.support.reviewed import recipe, register

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Whoever kills it starts it again."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def models(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Three versions of `two`, all fit to be champion."""
    root = tmp_path_factory.mktemp("decisions")
    for seed in (0, 1, 2):
        register(root, recipe(root, "two", **{"tracking.uri": mlflow_server.uri}), 45, seed=seed)
    return Registry(mlflow_server.uri)


@pytest.fixture
def fresh(models: Registry) -> Iterator[str]:
    """A registered model of its own with versions 1 to 3, whose artifacts are not looked at."""
    name, client = f"fresh{next(NUMBERS)}", models.client
    run_id = client.get_model_version("two", "1").run_id
    log = decisions.begin(client, name, client.get_run(run_id).info.experiment_id)
    client.create_registered_model(name, tags={decisions.LOG_TAG: log})
    for _ in range(3):
        client.create_model_version(name, source="models:/two/1", run_id=run_id)
    client.set_registered_model_alias(name, "candidate", "2")
    yield name
    use(models.uri)  # a test may have gone through a proxy
