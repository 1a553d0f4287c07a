"""The model registry as a review sees it: versions found by reference, their files, their run's report."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from pipelines.errors import UserError
from pipelines.model import versions
from pipelines.model.versions import Reference
from pipelines.tracking import server as store
from pipelines.tracking.server import reached
from pipelines.tracking.shipping import Unreachable

Client = Any  # mlflow.MlflowClient and its entities: importing MLflow takes seconds, and it has no types
Run = Any
ModelVersion = Any
RegisteredModel = Any

CHAMPION, PREVIOUS = versions.CHAMPION, "previous"


class Registry:
    """One MLflow server; every failure of it is a UserError of one line."""

    def __init__(self, uri: str):
        """Connect.

        Raises:
            UserError: it does not answer, or is a database that does not exist.
        """
        database = uri.removeprefix("sqlite:///")
        if database != uri and not Path(database).exists():
            raise UserError(f"{uri}: no such file; `selfray run` makes it, and prints where")
        self.uri = uri
        with self.asked():
            self.client: Client = store.connect(uri)
            store.use(uri)  # the registry looks `models:/` sources up there

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Requests to the server."""
        try:
            with reached(store.UPLOAD_TIMEOUT_S):
                yield
        except Unreachable as error:
            raise UserError(f"MLflow at {store.shown(self.uri)}: {error}") from None

    def model(self, name: str) -> RegisteredModel:
        """A registered model.

        Raises:
            UserError: there is none of this name; says which there are.
        """
        if found := self.models(name):
            return found[0]
        with self.asked():
            known = [each.name for each in self.client.search_registered_models(max_results=20)]
        there = f"there are {', '.join(known)}" if known else "none is registered: `selfray run` registers one"
        raise UserError(f"{name}: no registered model at {store.shown(self.uri)}; {there}")

    def models(self, name: str) -> list[RegisteredModel]:
        """The registered model of this name, if there is one."""
        with self.asked():
            return list(self.client.search_registered_models(f"name = '{name}'", max_results=1))

    def all_models(self) -> list[RegisteredModel]:
        """Every registered model, by name."""
        found: list[RegisteredModel] = []
        with self.asked():
            page = self.client.search_registered_models()
            while page:
                found += page
                page = self.client.search_registered_models(page_token=page.token) if page.token else None
        return sorted(found, key=lambda model: str(model.name))

    def find(self, reference: Reference) -> ModelVersion:
        """The version a reference means.

        Raises:
            UserError: no such model, alias or version; says which there are.
        """
        model = self.model(reference.name)
        aliases = {alias: int(version) for alias, version in model.aliases.items()}
        number = aliases.get(reference.alias) if reference.alias else reference.version
        if number is None:
            there = ", ".join(f"@{alias} = version {v}" for alias, v in sorted(aliases.items())) or "it has none"
            raise UserError(f"{reference.name}@{reference.alias}: no such alias; {there}")
        versions = self.versions(reference.name)
        for version in versions:
            if int(version.version) == number:
                return version
        there = ", ".join(str(v.version) for v in versions) or "none"
        raise UserError(f"{reference.name}/{number}: no such version; there are {there}")

    def champion(self, name: str, alias: str = CHAMPION) -> int | None:
        """The number of the version that bears an alias; None: no version does."""
        number = self.model(name).aliases.get(alias)
        return None if number is None else int(number)

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions with their aliases, oldest first."""
        with self.asked():
            found = self.client.search_model_versions(f"name = '{name}'")
        return sorted(found, key=lambda version: int(version.version))

    def run(self, run_id: str) -> Run:
        """A run.

        Raises:
            UserError: it is not there.
        """
        with self.asked():
            return self.client.get_run(run_id)

    def artifacts(self, run_id: str, *paths: str) -> Path:
        """Download those of the named files and folders that a run has, into a new folder of this process."""
        folder = Path(mkdtemp(dir=_scratch().name))
        with self.asked():
            there = {file.path for file in self.client.list_artifacts(run_id)}
            for path in there & set(paths):
                self.client.download_artifacts(run_id, path, str(folder))
        return folder


@cache
def _scratch() -> TemporaryDirectory[str]:
    """Removed when the process ends."""
    return TemporaryDirectory(prefix="selfray-review-")
