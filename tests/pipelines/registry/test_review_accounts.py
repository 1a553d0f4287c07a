"""Enforced mode on an MLflow server with accounts: who trains cannot change what is served."""

import importlib.util

import pytest

from pipelines.config.review import ReviewConfig
from pipelines.errors import UserError
from pipelines.registry import decisions
from pipelines.registry.aliases import settle
from pipelines.registry.registry import CHAMPION, Registry
from pipelines.registry.review import actions
from tests.support.mlflow_server import MlflowServer
from tests.support.reviewed import recipe, register

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("flask_wtf") is None, reason="MLflow's accounts need Flask-WTF"),
]
ADMIN, PASSWORD = "admin", "a-password-of-16+"
SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/accounts.db
admin_username = {admin}
admin_password = {password}
auth_cache_ttl_seconds = 60
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@pytest.fixture
def become(monkeypatch):
    def become(user):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)

    return become


@pytest.fixture
def server(tmp_path, become):
    settings = tmp_path / "auth.ini"
    settings.write_text(SETTINGS.format(folder=tmp_path, admin=ADMIN, password=PASSWORD))
    environment = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "of a test"}
    running = MlflowServer(tmp_path, ["--app-name", "basic-auth"], environment)
    running.start()
    yield running
    running.kill()


def test_the_trainers_account_is_refused(server, tmp_path, become):
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth.client import AuthServiceClient

    become(ADMIN)
    accounts = AuthServiceClient(server.uri)
    for user in ("trainer", "reviewer", "second"):
        accounts.create_user(user, PASSWORD)
    become("trainer")
    config = recipe(tmp_path, "guarded", **{"tracking.uri": server.uri})
    for seed in (0, 1):
        register(tmp_path, config, 45, seed=seed)
    experiment = Registry(server.uri).client.get_experiment_by_name("selfray").experiment_id
    become(ADMIN)
    for user in ("reviewer", "second"):
        accounts.grant_user_permission(user, "registered_model", "guarded", "MANAGE")  # takes `candidate` away
        accounts.grant_user_permission(user, "experiment", experiment, "EDIT")
    become("reviewer")
    mine = Registry(server.uri)
    actions.promote(mine, "guarded", 1, by="reviewer", why="good", rules=ReviewConfig(enforced=True))
    assert mine.champion("guarded-prod") == 1
    become("trainer")
    theirs = Registry(server.uri)
    with pytest.raises(UserError, match=r"^MLflow at .*ermission denied"):
        actions.promote(theirs, "guarded", 2, by="reviewer", why="mine")
    with pytest.raises(MlflowException, match="ermission denied"):
        theirs.client.set_registered_model_alias("guarded-prod", CHAMPION, "1")
    with pytest.raises(MlflowException, match="ermission denied"):
        theirs.client.copy_model_version("models:/guarded/2", "guarded-prod")
    theirs.client.set_registered_model_alias("guarded", CHAMPION, "2")  # their own model: by hand they may
    become("reviewer")
    assert [entry.version for entry in decisions.read(mine, "guarded").entries] == [1]
    assert settle(mine, "guarded")[1] == ["@champion is on version 2; by the log it belongs on version 1; done now"]
    assert (mine.champion("guarded-prod"), mine.champion("guarded")) == (1, 1)
    become("second")  # who has no rights on what the first reviewer created, until they are granted
    others = Registry(server.uri)
    with pytest.raises(UserError, match=r"^MLflow at .*ermission denied"):
        actions.promote(others, "guarded", 2, by="second", why="better")
    become("reviewer")  # its owner, as SECURITY.md says
    log = mine.client.get_experiment_by_name("guarded-prod: decisions").experiment_id
    accounts = AuthServiceClient(server.uri)
    accounts.grant_user_permission("second", "registered_model", "guarded-prod", "EDIT")
    accounts.grant_user_permission("second", "experiment", log, "EDIT")
    become("second")
    actions.promote(others, "guarded", 2, by="second", why="better")
    assert [entry.by for entry in decisions.read(others, "guarded").entries] == ["reviewer", "second"]
    assert (others.champion("guarded-prod"), others.champion("guarded")) == (2, 2)
