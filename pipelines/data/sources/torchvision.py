"""Any image data set of torchvision, by name."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import Field, JsonValue

from pipelines.data.sources._files import cut, reason
from pipelines.data.sources.base import Part, Raw, Source, Split, hash_listing
from pipelines.errors import UserError
from ssl_core.config import LocalPath, NamedConfig

SPLIT_WORDS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}
"""What data sets with a `split` argument call it."""


class Torchvision(Source):
    """Any torchvision image data set by name (CIFAR10, STL10, Food101, ...), downloaded where there is a network.

    Which arguments say the split is read off the class: `train=True/False`, `split="train"/"test"`
    (or "val"), or none, and then `ingest.test_fraction` of the samples are held out.
    """

    class Config(NamedConfig):
        name: Literal["torchvision"] = "torchvision"
        dataset: str
        """The class in torchvision.datasets, e.g. CIFAR10."""
        root: LocalPath = Path("~/.cache/selfray/torchvision")
        """Where its files lie or are downloaded to; on a cluster, a folder that all nodes see."""
        download: bool = True
        """Fetch what is missing under `root`."""
        options: dict[str, JsonValue] = Field(default_factory=dict)
        """More arguments of the class, e.g. {background: true} for Omniglot."""

    def __init__(self, config: Config):
        self.dataset, self.download, self.options = config.dataset, config.download, dict(config.options)
        self.root = config.root.expanduser().absolute()

    def fingerprint(self) -> str:
        return hash_listing([self._class().__name__, self.options])

    def parts(self, shard_mb: int) -> list[Part]:
        parts = []
        splits: tuple[Split | None, ...] = ("train", "test") if self._split_argument() else (None,)
        for split in splits:
            images = self._open(split, self.download)
            size = len(_png(images[0][0])) if len(images) else 0
            for run in cut([size] * len(images), shard_mb):
                what = {"split": split, "first": run.start}
                parts.append(Part(split, run.stop - run.start, what))
        if not parts:
            raise UserError(f"source.dataset: {self.dataset} is empty")
        return parts

    def read(self, part: Part) -> Iterator[Raw]:
        split: Split | None = part.what["split"]
        images = self._open(split, download=False)
        classes = getattr(images, "classes", None)
        file = f"{self.dataset}/{split}" if split else self.dataset
        for index in range(part.what["first"], part.what["first"] + part.count):
            try:
                image, target = images[index]
            except (OSError, SyntaxError) as error:  # what Pillow raises for a damaged file
                yield Raw(file, index, error=reason(error))
                continue
            yield Raw(file, index, data=_png(image), label=_label(target, classes))

    def _class(self) -> Any:
        from torchvision import datasets  # imported only where it is used: it takes seconds

        if self.dataset not in datasets.__all__:
            close = get_close_matches(self.dataset, datasets.__all__, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UserError(f"source.dataset: torchvision has no data set '{self.dataset}'{hint}")
        return getattr(datasets, self.dataset)

    def _split_argument(self) -> str | None:
        free = set(inspect.signature(self._class()).parameters) - set(self.options)
        return next((name for name in ("train", "split") if name in free), None)

    def _open(self, split: Split | None, download: bool) -> Any:
        """The data set of one split.

        Raises:
            UserError: not there and cannot be downloaded, or it does not take these options.
        """
        made, says = self._class(), self._split_argument()
        options = self._options(download)
        attempts: list[dict[str, Any]] = [{}]
        if split and says:
            attempts = [{"train": split == "train"}] if says == "train" else [{says: w} for w in SPLIT_WORDS[split]]
        for attempt in attempts:
            try:
                return made(**options, **attempt)
            except (OSError, RuntimeError) as error:  # URLError is an OSError
                raise UserError(
                    f"source.dataset: cannot get {self.dataset} ({reason(error)}); with no network, put its files "
                    f"under source.root ({self.root}) and set source.download to false"
                ) from None
            except (TypeError, ValueError) as error:  # ValueError: torchvision's word for "no such split"
                refused = reason(error)
        raise UserError(f"source.options: {self.dataset} refuses {sorted(options)} ({refused})")

    def _options(self, download: bool) -> dict[str, Any]:
        takes = inspect.signature(self._class()).parameters
        options: dict[str, Any] = {}
        if "root" in takes:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"source.root: {self.root}: cannot be made ({reason(error)})") from None
            options["root"] = str(self.root)
        if "download" in takes:
            options["download"] = download
        return options | self.options


def _png(image: Any) -> bytes:
    if not isinstance(image, Image.Image):
        raise UserError(f"source.dataset: gives {type(image).__name__}, not images")
    buffer = BytesIO()
    (image if image.mode in ("L", "RGB") else image.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _label(target: Any, classes: Any) -> str | None:
    """The class name of an integer target; None for targets of another kind (boxes, masks, ...)."""
    if hasattr(target, "item"):
        target = target.item()
    if not isinstance(target, int):
        return None
    return str(classes[target]) if classes is not None and target < len(classes) else str(target)
