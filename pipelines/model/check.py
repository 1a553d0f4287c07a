"""Is a packed or registered model what it should be? Looked at from outside, then loaded in a clean process.

The clean process gets no environment of ours, may not unpickle, start programs or connect anywhere, and runs no code
from the artifact.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile, is_zipfile

from pydantic import ValidationError

from pipelines.config import plain_yaml
from pipelines.errors import UserError
from pipelines.model import versions
from pipelines.model.card_file import CARD, WEIGHTS, read_card
from pipelines.model.clean_process import LoadCheck
from pipelines.model.examples import EXAMPLES
from pipelines.model.loader import locate
from pipelines.storage.checksum import sha256_of
from pipelines.tracking import server as store
from ssl_core.config import Config

TOLERANCE = 1e-3
"""Float32 on other processors differs by about 1e-6 of an embedding's length, TF32 by 1e-4; another crop by 1e-1."""
TIMEOUT_S = 300
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS")
_START = "import sys; sys.path.insert(0, {root!r}); from pipelines.model.clean_process import main; main()"
MODEL = "MLmodel"
"""What MLflow itself knows of a model."""
_PICKLE_NAMES = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin"}
_PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


class Checked(Config):
    """What a check found."""

    sha256: str
    """Of the weights as they are; empty: missing."""
    sha256_ok: bool
    """The weights are those that the card and, for a registered version, its tag name."""
    files_ok: bool | None
    """Every file is the one that was registered, none is missing, empty, added or a pickle; None: none is a pickle, the
    rest is unknown, see `not_checked`."""
    loads: bool
    """In a clean process, without unpickling or running anything of the artifact."""
    signature: str = ""
    """What is wrong with what MLflow says comes out; empty: nothing."""
    num_bytes: int
    """Of all its files."""
    latency_ms: float | None
    """Per image, from encoded bytes to embedding, in batches of `batch_size` on `threads` CPU threads."""
    batch_size: int
    threads: int
    num_examples: int
    """Inputs whose stored embeddings were compared."""
    max_difference: float | None
    """Largest distance of an embedding from the stored one, as a fraction of its length; None: nothing stored."""
    tolerance: float
    problems: tuple[str, ...]
    not_checked: tuple[str, ...]
    """What could not be looked at, e.g. because an older Selfray registered the version."""

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def reproduces(self) -> bool | None:
        """Whether the stored embeddings came out again; None: nothing to compare with."""
        return None if self.max_difference is None else self.max_difference <= self.tolerance


def check(
    source: str | Path,
    stored: Path | None = None,
    *,
    tracking_uri: str | None = None,
    batch_size: int = 1,
    tolerance: float = TOLERANCE,
    timeout_s: float = TIMEOUT_S,
) -> Checked:
    """Check a model: its files, its sha256, loading, its stored embeddings, its speed.

    Args:
        source: A folder, or a version such as `models:/NAME@candidate`, `NAME/3`.
        stored: Examples with embeddings to reproduce (see pipelines/model/examples.py); by default the model's own.
        tracking_uri: Where a version is looked up; by default see `versions.default_uri`.
        batch_size: Images per batch while the time is taken.
        tolerance: What `max_difference` may be.
        timeout_s: After so long the clean process is ended, which is a problem.

    Raises:
        UserError: no such version, or the server does not answer. What is wrong with the model itself is a problem.
    """
    if isinstance(source, Path) or (Path(source) / CARD).exists():
        return _examine(Path(source), stored, {}, "", batch_size, tolerance, timeout_s)
    uri = tracking_uri or versions.default_uri()
    version = versions.find(source, uri)
    wanted = version.tags.get(versions.SHA256, "")
    with TemporaryDirectory(prefix="selfray-check-") as folder:
        try:
            store.download(version.uri, uri, into=Path(folder))
        except UserError as error:
            versions.find(source, uri)  # raises if it is the server that is gone; else the artifact is
            found = _examine(Path(folder), stored, version.files, wanted, batch_size, tolerance, timeout_s)
            return found.model_copy(update={"problems": (str(error), *found.problems)})
        return _examine(Path(folder), stored, version.files, wanted, batch_size, tolerance, timeout_s)


def _examine(
    folder: Path,
    stored: Path | None,
    registered: Mapping[str, str],
    wanted: str,
    batch_size: int,
    tolerance: float,
    timeout_s: float,
) -> Checked:
    problems, not_checked = [], []
    packed = locate(folder)
    sha256, sha256_ok, faults = _weights(packed, wanted)
    problems += faults
    there = versions.files_of(folder)
    faults = [*_foreign(there), *versions.differences(there, registered)]
    problems += [fault for fault in faults if fault not in problems]
    if not registered:
        not_checked.append("files: no list of registered files with this model (a plain folder, or an older Selfray)")
    measured, signature = LoadCheck(problem="not loaded"), list[str]()
    if sha256_ok:
        signature = _signature(folder / MODEL, read_card(packed).embed_dim)
        problems += signature
        measured = _in_clean_process(packed, stored or packed / EXAMPLES, batch_size, timeout_s)
        problems += _compared(measured, stored, tolerance)
        if measured.num_examples is None and not measured.problem and stored is None:
            not_checked.append("embeddings: no examples stored with this model (registered by an older Selfray)")
    return Checked(
        sha256=sha256,
        sha256_ok=sha256_ok,
        files_ok=False if faults else True if registered else None,
        loads=sha256_ok and not measured.problem,
        signature="; ".join(signature),
        num_bytes=sum(path.stat().st_size for path in there.values()),
        latency_ms=measured.latency_ms,
        batch_size=batch_size,
        threads=measured.threads,
        num_examples=measured.num_examples or 0,
        max_difference=measured.max_difference,
        tolerance=tolerance,
        problems=tuple(problems),
        not_checked=tuple(not_checked),
    )


def _signature(model: Path, embed_dim: int) -> list[str]:
    """Whether what MLflow says comes out, [-1, D], is what the card says."""
    if not model.exists():
        return []  # a plain folder; of a registered version a file is missing, which is said elsewhere
    try:
        tree: Any = plain_yaml.load(model.read_text())
        (output,) = json.loads(tree["signature"]["outputs"])
        shape = list(output["tensor-spec"]["shape"])
    except (plain_yaml.NotPlain, KeyError, TypeError, ValueError) as error:
        return [f"{MODEL}: its signature cannot be read ({' '.join(str(error).split())[:100]})"]
    said = f"{MODEL}: its signature gives embeddings of shape {shape}, {CARD} says {[-1, embed_dim]}"
    return [said] if shape != [-1, embed_dim] else []


def _compared(measured: LoadCheck, stored: Path | None, tolerance: float) -> list[str]:
    """What is wrong with what the clean process found."""
    if measured.problem:
        return [measured.problem]
    if measured.num_examples is None and stored is not None:
        return [f"{stored}: missing; it was to be compared with"]
    difference = measured.max_difference or 0.0
    said = f"embeddings differ from the stored ones by {difference:.2g} of their length, more than {tolerance:g}"
    return [said] if difference > tolerance else []


def _weights(packed: Path, wanted: str) -> tuple[str, bool, list[str]]:
    """(sha256 of the weights as they are, whether it is the right one, what is wrong)."""
    missing = [name for name in (CARD, WEIGHTS) if not (packed / name).exists() or not (packed / name).stat().st_size]
    if missing:
        return "", False, [f"{name}: missing or empty; the artifact is gone, register it again" for name in missing]
    sha256 = sha256_of(packed / WEIGHTS)
    try:
        card = read_card(packed)
    except UserError as error:
        return sha256, False, [str(error)]
    says = {CARD: card.sha256} | ({"the registry": wanted} if wanted else {})
    faults = [
        f"{WEIGHTS}: its sha256 is {sha256[:12]}..., {who} says {what[:12]}...; do not use it"
        for who, what in says.items()
        if what != sha256
    ]
    kept = packed / EXAMPLES
    if card.examples and (not kept.exists() or sha256_of(kept) != card.examples):
        return sha256, not faults, [*faults, f"{EXAMPLES}: missing, or not what {CARD} says"]
    return sha256, not faults, faults


def _foreign(there: Mapping[str, Path]) -> list[str]:
    """Files that other loaders would unpickle; Selfray stores none."""
    return [f"{name}: a pickle; other loaders would run it" for name, path in there.items() if _is_pickle(path)]


def _is_pickle(path: Path) -> bool:
    if path.suffix == ".safetensors":  # read as such or not at all; its first bytes are a length, which may be these
        return False
    if path.suffix.lower() in _PICKLE_NAMES:
        return True
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK" and is_zipfile(path):  # as torch.save writes
        with ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    return start in _PICKLE_STARTS


def _in_clean_process(packed: Path, stored: Path, batch_size: int, timeout_s: float) -> LoadCheck:
    root = str(Path(__file__).parents[2])  # -I leaves out the current folder and PYTHONPATH
    command = [sys.executable, "-I", "-c", _START.format(root=root)]
    command += [str(packed.absolute()), str(stored.absolute()), str(batch_size)]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        done = subprocess.run(
            command, env=environment, cwd=packed, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return LoadCheck(problem=f"does not load: the clean process took more than {timeout_s:g} s")
    try:
        return LoadCheck.model_validate_json(done.stdout.strip().rpartition("\n")[2])
    except ValidationError:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        return LoadCheck(problem=f"does not load: {said[:300]}")
