"""Register the encoder as a candidate: packed weights, a pyfunc around them, a version that says what it is worth."""

import json
import time
from importlib.metadata import packages_distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pipelines.config import codecs
from pipelines.config.flat import fingerprint
from pipelines.config.run import RunConfig
from pipelines.data.shards import manifest
from pipelines.errors import UserError
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.report import text as report
from pipelines.model import card_file, examples, loader, versions
from pipelines.model.card_file import Card
from pipelines.model.embedder import Embedder
from pipelines.model.examples import EXAMPLES
from pipelines.model.versions import CANDIDATE
from pipelines.registry import decisions
from pipelines.registry.artifact import ModelVersion
from pipelines.stage import Stage
from pipelines.storage import checkpoint
from pipelines.storage.checksum import sha256_of
from pipelines.tracking import datasets, provenance, runs
from pipelines.tracking import server as store
from pipelines.tracking.runs import Tracked
from pipelines.tracking.server import Value, reached
from pipelines.tracking.shipping import Unreachable
from ssl_core.build import untrained

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as Version

CODE = Path(loader.__file__).parent / "pyfunc.py"
# modules that the packed model imports, beside mlflow; their distributions are its requirements
NEEDS = ("torch", "torchvision", "numpy", "pandas", "cv2", "PIL", "safetensors", "pydantic")
INPUT = (
    "encoded images (bytes, or base64 text) or [H, W, 3] uint8 arrays; a JPEG given as bytes is decoded at a reduced "
    "size where the view is smaller, so its embedding differs by a few percent of its length from that of its pixels"
)
"""For the MLmodel file: the signature has no place for it."""
MAX_DESCRIPTION = 5000  # MLflow's column
NOT_REVIEWED = (
    "Not reviewed yet: `selfray review` holds it against the gates and puts its page here. MLflow's own *Promote "
    "model* button goes past the gates."
)


def run(config: RunConfig, given: ProbeReport, folder: Path) -> ModelVersion:
    """Make the version, or find the one that an interrupted try made.

    Raises:
        UserError: the server does not answer, or the shards or weights are not what was recorded.
    """
    tracked = runs.current()
    store.use(tracked.uri)
    card = _pack(config, given, folder / "model")
    try:
        with reached(store.UPLOAD_TIMEOUT_S):
            found = _version(tracked, config.name, card) or _create(tracked, config, given, card, folder / "model")
            tracked.client.set_registered_model_alias(config.name, CANDIDATE, found.version)
    except Unreachable as error:
        raise UserError(f"register: {store.shown(tracked.uri)}: {error}; run the same again") from None
    number = int(found.version)
    digest = fingerprint([config.name, number, card.sha256])
    uri = f"models:/{config.name}@{CANDIDATE}"
    return ModelVersion(digest=digest, report=given, name=config.name, version=number, alias=CANDIDATE, uri=uri)


REGISTER = Stage("register", 2, reads=("name", "encoder", "views", "registry", "tracking"), makes=ModelVersion, run=run)


def _pack(config: RunConfig, given: ProbeReport, folder: Path) -> Card:
    """The encoder alone, without the heads it was trained with."""
    weights = checkpoint.encoder_weights(given.checkpoint.folder)
    card = card_file.card_of(
        name=config.name,
        encoder=untrained(config.encoder).model_dump(mode="json"),
        view=config.views["eval"].model_dump(mode="json"),
        codec=codecs.of_view(config, config.views["eval"]),
        checkpoint=given.checkpoint.digest,
        shards=given.checkpoint.shards.digest,
        layers=config.evaluate.layers,
    )
    card = loader.pack(folder, weights, card)
    wanted, shards = config.registry.examples, given.checkpoint.shards.folder
    embedder = Embedder(folder)
    files = examples.held_out(shards, manifest.load(shards), wanted) if wanted else embedder.drawn()
    examples.write(folder / EXAMPLES, files, embedder.embed_files(files))
    return card_file.write_card(folder, card.model_copy(update={"examples": sha256_of(folder / EXAMPLES)}))


def _tags(tracked: Tracked, card: Card, verdict: str) -> dict[str, str]:
    ours = {
        versions.SHA256: card.sha256,
        "selfray.digest": card.checkpoint,
        "selfray.shards": card.shards,
        "selfray.run": tracked.run_id,
        "selfray.verdict": verdict[:MAX_DESCRIPTION],
    }
    commit = provenance.commit().commit
    return ours | ({"git.commit": commit} if commit else {})


def _version(tracked: Tracked, name: str, card: Card) -> "Version | None":
    """The version that this run has already made of these weights."""
    query = f"name = '{name}' and tags.`selfray.sha256` = '{card.sha256}'"
    versions = tracked.client.search_model_versions(query)
    return next((v for v in versions if v.tags.get("selfray.run") == tracked.run_id), None)


def _create(tracked: Tracked, config: RunConfig, given: ProbeReport, card: Card, packed: Path) -> "Version":
    model = _logged(tracked, config, given, card, packed)
    _ensure_registered(tracked, config.name)
    return tracked.client.create_model_version(
        config.name,
        source=f"models:/{model.model_id}",  # in this form MLflow's pages link version and model
        run_id=tracked.run_id,
        model_id=model.model_id,
        tags={**_tags(tracked, card, given.verdict), versions.FILES: model.tags.get(versions.FILES, "{}")},
        description=describe(given),
    )


def _ensure_registered(tracked: Tracked, name: str) -> None:
    """The registered model, born with the log of the decisions about it: whoever decides finds the same log."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    if tracked.client.search_registered_models(f"name = '{name}'", max_results=1):
        return
    log = decisions.begin(tracked.client, name, tracked.experiment_id)
    try:
        tracked.client.create_registered_model(name, tags={decisions.LOG_TAG: log})
    except MlflowException as error:
        tracked.client.delete_run(log)  # another run was faster: its log counts
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def _logged(tracked: Tracked, config: RunConfig, given: ProbeReport, card: Card, packed: Path) -> "LoggedModel":
    """The model in MLflow's store, tied to run, scores and data; one that an interrupted try finished is taken."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client, tags = tracked.client, _tags(tracked, card, given.verdict)
    mine = f"source_run_id = '{tracked.run_id}' and tags.`selfray.sha256` = '{card.sha256}'"
    found = client.search_logged_models([tracked.experiment_id], filter_string=mine)
    if ready := [model for model in found if model.status == LoggedModelStatus.READY]:
        return ready[0]
    for torn in found:  # died while it was uploaded
        client.delete_logged_model(torn.model_id)
    model = client.create_logged_model(
        tracked.experiment_id, name=config.name, source_run_id=tracked.run_id, tags=tags, model_type="encoder"
    )
    with TemporaryDirectory(dir=packed.parent) as folder:  # as large as the weights: not in /tmp
        _save(Path(folder) / "model", packed, card, model.model_id)
        client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        listed = json.dumps(versions.hashes(Path(folder) / "model"))
        client.set_logged_model_tags(model.model_id, {versions.FILES: listed})
    client.log_outputs(tracked.run_id, models=[LoggedModelOutput(model.model_id, step=given.checkpoint.step)])
    shards = given.checkpoint.shards.folder
    data = datasets.dataset(shards, manifest.load(shards).summary())
    store.log_values(client, tracked.run_id, _scores(given), model.model_id, data)
    return client.finalize_logged_model(model.model_id, "READY")


def _save(folder: Path, packed: Path, card: Card, model_id: str) -> None:
    """Write the pyfunc: code file, weights, card, signature, example."""
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import Schema, TensorSpec

    embedder = Embedder(packed)
    (drawn, *_) = embedder.drawn()
    # No input schema: MLflow would force every input into one form, and samples come as bytes or as arrays.
    embeddings = TensorSpec(np.dtype(np.float32), (-1, card.embed_dim), name=None)
    save_model(
        folder,
        python_model=str(CODE),
        artifacts={
            "config": str(packed / card_file.CARD),
            "weights": str(packed / card_file.WEIGHTS),
            "examples": str(packed / EXAMPLES),
            **(
                {"tokenizer": str(packed / card_file.TOKENIZER)}
                if card_file.TOKENIZER in card_file.files_of(card)
                else {}
            ),
        },
        signature=ModelSignature(outputs=Schema([embeddings])),
        input_example=pd.DataFrame({embedder.chain.field: [drawn.decode() if embedder.codec.takes_text else drawn]}),
        pip_requirements=requirements(),
        metadata={
            "selfray.sha256": card.sha256,
            "selfray.config_sha256": sha256_of(packed / card_file.CARD),
            "selfray.input": INPUT,
        },
        mlflow_model=Model(model_id=model_id, model_uuid=model_id),
    )


def requirements() -> list[str]:
    """Exact versions of what the packed model needs from a package index; `selfray` itself comes from its checkout."""
    owners = packages_distributions()
    names = ["mlflow", *(owners[module][0] for module in NEEDS)]
    return [f"{name}=={version(name).split('+', maxsplit=1)[0]}" for name in names]  # '+cpu' is no index's version


def describe(given: ProbeReport) -> str:
    """For the version's page: the verdict first, since the list of versions shows nothing else, then the table."""
    body = report.markdown(given.scores).partition(f"**{given.verdict}**")[2]
    text = f"{given.verdict}\n\n{NOT_REVIEWED}\n\n{body.strip()}\n"
    if len(text) <= MAX_DESCRIPTION:
        return text
    more = "\n\n(cut; the whole report is an artifact of the source run)"
    return text[: MAX_DESCRIPTION - len(more)].rpartition("\n")[0] + more


def _scores(given: ProbeReport) -> list[Value]:
    """As the evaluation logged them, so that they fall on the same points of the run; else as of now."""
    logged = runs.final_scores(given.folder)
    now = time.time_ns() // 1_000_000
    return logged or [Value(name, now, given.checkpoint.step, value) for name, value in given.scores.encoder.items()]
