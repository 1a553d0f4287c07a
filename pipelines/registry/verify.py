"""Check the artifact of every version of a registered model, or of all of them, as `selfray verify` prints it."""

from pipelines.model.check import Checked, check
from pipelines.model.versions import SHA256
from pipelines.registry.page.tables import Rows
from pipelines.registry.registry import Registry


def versions(server: Registry, name: str | None) -> dict[str, Checked]:
    """`NAME/3` -> what was found, oldest first.

    Args:
        name: None: every version in the registry that Selfray has registered.
    Raises:
        UserError: no such model, or the server does not answer.
    """
    models = [server.model(name)] if name else server.all_models()
    found = [version for model in models for version in server.versions(model.name)]
    ours = found if name else [version for version in found if SHA256 in version.tags]
    references = [f"{version.name}/{version.version}" for version in ours]
    return {reference: check(reference, tracking_uri=server.uri) for reference in references}


def table(checked: dict[str, Checked]) -> Rows:
    """One line per version."""
    cells = []
    for reference, found in checked.items():
        said = "; ".join([*found.problems, *(f"not checked: {what}" for what in found.not_checked)])
        state = "FAIL" if found.problems else "ok"
        reproduced = "-" if found.max_difference is None else f"{found.max_difference:.1e}"
        cells.append([reference, state, found.sha256[:12], f"{found.num_bytes / 1e6:.1f}", reproduced, said])
    header = ("version", "", "sha256", "MB", "embeddings differ by", "what is wrong")
    return Rows(header, cells, (3, 4))
