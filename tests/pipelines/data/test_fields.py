"""Shards say which fields they hold, and are read as they were stored."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.config.parse import parse
from pipelines.data.shards.manifest import Manifest, check_fields, check_sizes
from pipelines.errors import UserError
from ssl_core.build import build_chain
from ssl_core.codecs.image import Image
from ssl_core.codecs.series import Series
from tests.support.recipe import TREE

EMPTY: dict[str, Any] = {
    "source": {}, "train": (), "test": (), "classes": None, "num_quarantined": 0, "num_duplicates": 0
}  # fmt: skip


def listing(**fields: tuple[str, int]) -> Manifest:
    return Manifest(**EMPTY, fields=fields)


def test_shards_of_images_name_no_field_and_keep_their_digest() -> None:
    check_fields(Path("shards"), listing(), {"image": Image.Config()})
    assert listing().compute_digest() != listing(series=("series", 1)).compute_digest()
    assert Manifest(**EMPTY).compute_digest() == listing().compute_digest()


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({}, r"shards: holds the fields image \(image version 1\); the views read series \(series version 1\): take"),
        ({"series": ("series", 2)}, r"holds the fields series \(series version 2\); the views read series"),
        ({"series": ("other", 1)}, r"holds the fields series \(other version 1\)"),
    ],
)
def test_other_fields_and_versions_are_refused(there: dict[str, tuple[str, int]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_fields(Path("shards"), listing(**there), {"series": Series.Config()})


def test_a_chain_of_another_field_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match=r"views\.eval: series_eval reads the field series \(series\); source digits"):
        parse(TREE, {"views.eval": {"name": "series_eval", "length": 8}})


def test_a_codec_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"ingest\.codecs\.image: is series; the source and the views need image"):
        parse(TREE, {"ingest.codecs": {"image": {"name": "series"}}})


def test_views_larger_than_the_stored_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"views\.global: asks for 8 px .* ingest\.resize_shorter 7 stores smaller"):
        parse(TREE, {"ingest.resize_shorter": 7})
    codec = parse(TREE, {"ingest.resize_shorter": 8}).ingest.codec("image", "image")
    assert codec.model_dump()["resize_shorter"] == 8
    shards = Manifest(**EMPTY, resized_shorter=7)
    chain = build_chain(parse(TREE).views["eval"])
    with pytest.raises(UserError, match=r"shards: images were stored with 7 px .* a view asks for 8"):
        check_sizes(Path("shards"), shards, [chain])
    check_sizes(Path("shards"), Manifest(**EMPTY), [chain])
