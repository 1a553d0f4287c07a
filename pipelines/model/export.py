"""A version in a format for other programs: safetensors, torch.export (pt2), ONNX, or as another library has it.

Each is checked before it is shown.

Exported programs read what a chain gives, [B, ...] views, and normalize inside, so nobody has to know the means; of
text they read ids and a mask.
A pt2 is torch's own archive: tensors as raw bytes, but its example input is pickled, and `torch.export.load` unpickles
without limits what it cannot read otherwise (torch/_export/serde/serialize.py). Selfray reads only those it just wrote.

Shapes: B samples, D encoder width.
"""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.errors import UserError
from pipelines.model import examples, libraries
from pipelines.model.card_file import CARD, WEIGHTS, files_of, read_card
from pipelines.model.embedder import Embedder
from pipelines.model.examples import EXAMPLES
from pipelines.model.loader import load_chain, load_encoder
from pipelines.storage import journal
from pipelines.storage.checksum import sha256_of
from ssl_core.build import build_codec
from ssl_core.config import Config

TOLERANCE = 1e-4
"""Of the distance between embeddings over their length; fused kernels differ by about 1e-6."""
BATCH_SIZES = (1, 5)
COMPARED = 64
"""Samples at most, of those stored with a version and of the user's own."""
NAMES = {"safetensors": WEIGHTS, "pt2": "encoder.pt2", "onnx": "encoder.onnx"} | dict.fromkeys(
    libraries.LIBRARIES, libraries.WEIGHTS
)
"""Format -> the file it writes."""
INPUT, OUTPUT = "views", "embeddings"
TOKENS, MASK = "ids", "mask"
"""Inputs of an encoder of tokens: [B, T] int64 ids, and [B, T] bool, True where there is text."""
_NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "timm": ("timm",), "transformers": ("transformers",)}
_EXTRA = {"timm": "peers", "transformers": "peers"}
"""Format -> the extra that brings what it needs; others: export."""

Run = Callable[[NDArray[Any]], NDArray[np.float32]]
"""[B, ...] views -> [B, D] float32."""


class Exported(Config):
    """ENCODER.json: one format of a version, on disk and checked."""

    format: str
    file: str
    beside: tuple[str, ...]
    """Names of the files that go with it."""
    sha256: str
    num_bytes: int
    model: str
    """sha256 of the weights that it was made from."""
    batch_sizes: tuple[int, ...]
    """At which it was compared with the encoder itself."""
    num_examples: int
    """Samples stored with the version (or drawn ones), on which it was compared."""
    num_own: int
    """Samples of the user, on which it was compared too."""
    max_difference: float
    """Largest distance between embeddings, as a fraction of their length."""
    tolerance: float = TOLERANCE
    config_sha256: str = ""
    """Of config.json beside it; empty: exported by an older Selfray."""


def export(packed: Path, kind: str, output: Path, own: NDArray[Any] | None = None) -> Exported:
    """Write a packed model into `output` in another format, with its config.json beside it.

    Nothing appears under its name before it has been read back and compared.

    Args:
        packed: Folder with config.json and the weights; its sha256 is checked.
        kind: `safetensors`, `pt2`, `onnx`, or a library: `torchvision`, `timm`, `transformers`.
        output: Made if it is not there; may hold the other formats of the same version.
        own: Views of the user's samples to compare on, beside those stored with the version, [n, ...].

    Raises:
        UserError: unknown format, a missing package, a folder that holds another version, or embeddings that differ.
    """
    may_write(kind, output)
    embedder = Embedder(packed)
    other, is_library = output / CARD, kind in libraries.LIBRARIES
    if other.exists() and (is_library or other.read_bytes() != (packed / CARD).read_bytes()):
        what = "a" if is_library else "another version's"
        raise UserError(f"--output: {output}: holds {what} {CARD}; give an empty folder")
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output, prefix=".export-") as folder:
        aside = Path(folder)
        beside = () if is_library else (*files_of(embedder.card)[2:], CARD, EXAMPLES)
        for name in beside if kind == "safetensors" else beside[:-1]:
            if (packed / name).exists():
                shutil.copyfile(packed / name, aside / name)
        run = _Writer(embedder, packed).write(kind, aside / NAMES[kind])
        stored = _views(embedder, packed)  # [K, ...]
        views = stored if own is None else np.concatenate([stored, own])
        difference = _difference(embedder, run, views)
        if not difference <= TOLERANCE:
            raise UserError(
                f"--format {kind}: its embeddings differ from the encoder's by {difference:.2g} of their length, more "
                f"than {TOLERANCE:g}; nothing was written"
            )
        made = Exported(
            format=kind,
            file=NAMES[kind],
            beside=tuple(sorted(path.name for path in aside.iterdir() if path.name != NAMES[kind])),
            sha256=sha256_of(aside / NAMES[kind]),
            num_bytes=(aside / NAMES[kind]).stat().st_size,
            model=embedder.card.sha256,
            batch_sizes=BATCH_SIZES,
            num_examples=len(stored),
            num_own=len(views) - len(stored),
            max_difference=difference,
            config_sha256=sha256_of(packed / CARD),
        )
        (aside / f"{NAMES[kind]}.json").write_text(made.model_dump_json(indent=2))
        for path in sorted(aside.iterdir(), key=lambda path: path.name == NAMES[kind]):  # the program itself last
            journal.flush(path)
            path.replace(output / path.name)
    return made


def may_write(kind: str, output: Path) -> None:
    """
    Raises:
        UserError: unknown format, a missing package, or `output` is a file.
    """
    if kind not in NAMES:
        raise UserError(f"--format: there is no '{kind}'; choose one of {', '.join(NAMES)}")
    if missing := [name for name in _NEEDS.get(kind, ()) if find_spec(name) is None]:
        extra = _EXTRA.get(kind, "export")
        raise UserError(f"--format {kind}: needs {', '.join(missing)}: uv pip install -e '.[{extra}]'")
    if output.exists() and not output.is_dir():
        raise UserError(f"--output: {output} is a file; give a folder")


def has_real_samples(packed: Path) -> bool:
    """Whether samples of the data are stored with the version (`registry.examples`), not drawn ones."""
    kept, card = packed / EXAMPLES, read_card(packed)
    codec = build_codec(card.codec_config())
    if not kept.exists():
        return False
    stored, drawn = (
        [codec.encode(codec.decode(data)) for data in files]  # one value may be encoded in several ways
        for files in (examples.read(kept).files, codec.drawn(load_chain(packed).spec))
    )
    return stored != drawn


class _Pooled(nn.Module):
    """The part that is exported: normalization and encoder, pooled."""

    def __init__(self, embedder: Embedder):
        super().__init__()
        self.encoder, self._finish = embedder.encoder, embedder.chain.finish

    def forward(self, views: Tensor) -> Tensor:
        pooled: Tensor = self.encoder(self._finish(views)).pooled  # [B, ...] views -> [B, D]
        return pooled


class _PooledTokens(nn.Module):
    """The encoder of ragged views, pooled, with what tells text from padding as a second input."""

    def __init__(self, embedder: Embedder):
        super().__init__()
        self.encoder = embedder.encoder

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        pooled: Tensor = self.encoder(ids, mask).pooled  # [B, T] each -> [B, D]
        return pooled


class _Writer:
    """Writes one format and gives back what runs it, read from the file."""

    def __init__(self, embedder: Embedder, packed: Path):
        self._embedder, self._packed = embedder, packed

    def write(self, kind: str, path: Path) -> Run:
        if kind in libraries.LIBRARIES:
            return self._library(kind, path.parent)
        return {"safetensors": self._safetensors, "pt2": self._pt2, "onnx": self._onnx}[kind](path)

    def _library(self, kind: str, folder: Path) -> Run:
        network, finish = libraries.write(kind, self._embedder.encoder, folder), self._embedder.chain.finish
        return _without_grad(lambda views: network(finish(torch.from_numpy(views))))

    def _safetensors(self, path: Path) -> Run:
        shutil.copyfile(self._packed / WEIGHTS, path)
        encoder, chain = load_encoder(path.parent), self._embedder.chain

        def run(views: NDArray[Any]) -> Tensor:
            x = chain.finish(torch.from_numpy(views))
            return encoder(x, chain.valid(x)).pooled

        return _without_grad(run)

    def _pt2(self, path: Path) -> Run:
        program = self._program()
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
        return _without_grad(lambda views: loaded(*self._inputs(views).values()))

    def _onnx(self, path: Path) -> Run:
        import onnxruntime

        made = torch.onnx.export(
            self._program(),
            input_names=list(self._inputs(self._drawn())),
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
        )
        assert made is not None  # None: only where it writes the file itself
        made.save(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def run(views: NDArray[Any]) -> NDArray[np.float32]:
            given = {name: x.numpy() for name, x in self._inputs(views).items()}
            embeddings: NDArray[np.float32] = session.run([OUTPUT], given)[0]
            return embeddings

        return run

    def _program(self) -> torch.export.ExportedProgram:
        inputs = self._inputs(self._drawn())
        module = (_PooledTokens if len(inputs) > 1 else _Pooled)(self._embedder).eval()
        batch = torch.export.Dim("batch", min=1)
        shapes = {name: {0: batch} for name in inputs}
        with torch.no_grad():
            return torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes)

    def _drawn(self) -> NDArray[Any]:
        """Views of drawn samples, as many as the largest batch."""
        drawn = self._embedder.views([self._embedder.decode(data) for data in self._embedder.drawn()])
        return np.resize(drawn, (max(BATCH_SIZES), *drawn.shape[1:]))  # [B, ...]

    def _inputs(self, views: NDArray[Any]) -> dict[str, Tensor]:
        """What an exported program is given for some views: name -> tensor."""
        chain, given = self._embedder.chain, torch.from_numpy(views)
        valid = chain.valid(given)
        return {INPUT: given} if valid is None else {TOKENS: chain.finish(given), MASK: valid}


def _without_grad(module: Callable[[NDArray[Any]], Tensor]) -> Run:
    def run(views: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            embeddings: NDArray[np.float32] = module(views).numpy()
        return embeddings

    return run


def _views(embedder: Embedder, packed: Path) -> NDArray[Any]:
    """The views of the version's example samples, [K, ...]."""
    kept = packed / EXAMPLES
    files = examples.read(kept).files if kept.exists() else embedder.drawn()
    return embedder.views([embedder.decode(data) for data in files[:COMPARED]])


def _difference(embedder: Embedder, run: Run, views: NDArray[Any]) -> float:
    """The largest distance of an embedding from the encoder's, over the length of that.

    Args:
        views: [n, ...]; few of them are repeated up to the largest batch.
    """
    worst, count = 0.0, max(len(views), *BATCH_SIZES)
    views = np.resize(views, (count, *views.shape[1:]))  # [n, ...], the same again where there are too few
    for size in BATCH_SIZES:
        for first in {*range(0, count - size + 1, size), count - size}:  # all of them, in whole batches
            batch = views[first : first + size]  # [B, ...]
            wanted = embedder.embed(batch)  # [B, D]
            length = np.maximum(np.linalg.norm(wanted, axis=1), 1e-12)  # [B]
            found = np.linalg.norm(run(batch) - wanted, axis=1) / length
            worst = max(worst, float(np.nan_to_num(found, nan=np.inf).max()))
    return worst
