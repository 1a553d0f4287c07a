"""Check the artifact of every version of a registered model, as `selfray verify` prints it."""

from pipelines.model.check import Checked, check
from pipelines.review.registry import Registry
from pipelines.review.tables import Rows


def versions(server: Registry, name: str) -> dict[int, Checked]:
    """Version -> what was found, oldest first.

    Raises:
        UserError: no such model, or the server does not answer.
    """
    server.model(name)
    numbers = [int(version.version) for version in server.versions(name)]
    return {number: check(f"{name}/{number}", tracking_uri=server.uri) for number in numbers}


def table(checked: dict[int, Checked]) -> Rows:
    """One line per version."""
    cells = []
    for number, found in checked.items():
        said = "; ".join([*found.problems, *(f"not checked: {what}" for what in found.not_checked)])
        state = "FAIL" if found.problems else "ok"
        reproduced = "-" if found.max_difference is None else f"{found.max_difference:.1e}"
        cells.append([str(number), state, found.sha256[:12], f"{found.num_bytes / 1e6:.1f}", reproduced, said])
    header = ("version", "", "sha256", "MB", "embeddings differ by", "what is wrong")
    return Rows(header, cells, (0, 3, 4))
