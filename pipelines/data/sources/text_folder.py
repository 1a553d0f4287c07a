"""A folder of text files, nested or not."""

from typing import Literal

from pydantic import field_validator

from pipelines.data.sources.image_folder import ImageFolder
from ssl_core.config import LocalPath, NamedConfig


class TextFolder(ImageFolder):
    """Text files under a folder, each of them one sample; first-level folders can be the labels.

    Every visible file with one of `extensions` is a sample, and one without any extension, which is judged by its
    content; files of other kinds are left out and counted. Order and splits are those of `image_folder`. Many texts in
    one file, one per line: `text_table`.
    """

    fields = {"text": "text"}
    kind = ("text", "texts")
    unread = ()

    class Config(NamedConfig):
        name: Literal["text_folder"] = "text_folder"
        path: LocalPath
        """The folder; searched all the way down. One of just train/, test/ and val/ has these splits, see `val`."""
        test_path: LocalPath | None = None
        """A second folder, held out for evaluation; without it `ingest.test_fraction` of the samples are."""
        labels: Literal["auto", "folder", "none"] = "auto"
        """folder: the first-level folder's name is the label; auto: so if all texts lie in two or more of them."""
        val: Literal["leave", "join"] = "leave"
        """Of a folder val/ beside train/ and test/: left out, or joined to the train samples."""
        follow_links: bool = False
        """Follow links that lead outside the folder; special files stay refused."""
        extensions: tuple[str, ...] = (".txt", ".text", ".md")
        """What counts as a text file; neither case nor a missing dot matters."""

        @field_validator("extensions")
        @classmethod
        def _begin_with_a_dot(cls, given: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(extension if extension.startswith(".") else f".{extension}" for extension in given)

    def __init__(self, config: Config):
        super().__init__(ImageFolder.Config(**{**config.model_dump(), "name": "image_folder"}))
