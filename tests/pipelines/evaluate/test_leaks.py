"""Copies of train samples in test: found when planted, by every kind of evidence, and not where there are none."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.config.parse import parse
from pipelines.data import ingest
from pipelines.data.parts import Job
from pipelines.data.shards import content, manifest, writing
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.writing import Rules
from pipelines.data.sources.image_folder import ImageFolder
from pipelines.evaluate.leaks import pairs as leaks
from pipelines.evaluate.leaks.hashes import Hashes
from pipelines.evaluate.leaks.pairs import Pairs, Shards
from pipelines.evaluate.report.text import markdown
from pipelines.evaluate.scoring.scores import Leaks, Scores
from pipelines.registry.review import gates, overlaps
from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.perceptual_hash import nearest_hashes, perceptual_hash
from ssl_core.codecs.image import Image
from tests.support.images import good_tree, image_fields
from tests.support.pictures import picture
from tests.support.recipe import TREE

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def hashed(images: list[np.ndarray], first: int) -> Hashes:
    return Hashes(np.arange(first, first + len(images)), perceptual_hash(images))


def ids(pairs: Pairs) -> list[tuple[int, int]]:
    return sorted(set(zip(pairs.test.tolist(), pairs.train.tolist(), strict=True)))


def small(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)


def similarity(sides: dict[str, list[np.ndarray]]) -> leaks.Similarity:
    """By the codec of images, of rows of these test and train views."""

    def alike(test: np.ndarray, train: np.ndarray) -> np.ndarray:
        views = (np.stack([sides[split][row] for row in rows]) for split, rows in (("test", test), ("train", train)))
        return Image(Image.Config()).similarity(*views)

    return alike


def test_resized_and_recompressed_pictures_are_found_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    train = [picture(96, 96, seed=i) for i in range(60)]
    test = [picture(96, 96, seed=1000 + i) for i in range(30)]
    test[4] = cv2.resize(train[17], (150, 150), interpolation=cv2.INTER_CUBIC)
    test[9] = cv2.imdecode(cv2.imencode(".jpg", train[2], [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    test[20] = cv2.resize(train[33], (48, 48), interpolation=cv2.INTER_AREA)
    sides = {"train": [small(x) for x in train], "test": [small(x) for x in test]}

    alike = similarity(sides)
    hashes = hashed(sides["train"], 0), hashed(sides["test"], 100)
    found = leaks.alike_samples(*([side] for side in hashes), alike)
    assert ids(found) == [(104, 17), (109, 2), (120, 33)]
    monkeypatch.setattr(leaks, "_PART", 2)  # the same in parts
    monkeypatch.setattr(leaks, "_QUERIES", 3)
    again = leaks.alike_samples(*(windows(side, 7) for side in hashes), alike)
    assert all(np.array_equal(a, b) for a, b in zip(again, found, strict=True))


def windows(side: Hashes, size: int) -> list[Hashes]:
    """One of them without a sample, as those of the other split only are."""
    cuts = [0, 0, *range(size, len(side.phash), size), len(side.phash)]
    return [Hashes(*(x[a:b] for x in side)) for a, b in pairwise(cuts)]


@pytest.mark.parametrize("size", [1, 3, 50, 5000])
def test_the_nearest_by_hash_are_those_of_one_look_at_all_whatever_the_windows(size: int) -> None:
    draw = np.random.default_rng(0)
    keys, queries = draw.integers(0, 64, 300, np.uint64), draw.integers(0, 64, 20, np.uint64)  # many are equally far
    sample_id = draw.permutation(300)
    wanted_bits, wanted = nearest_hashes(queries, keys, leaks.CANDIDATES)
    bits, rows, found = leaks._nearest(queries, windows(Hashes(sample_id, keys), size))
    assert np.array_equal(bits, wanted_bits) and np.array_equal(rows, wanted)
    assert np.array_equal(found, sample_id[wanted])
    few = leaks._nearest(queries, windows(Hashes(sample_id[:2], keys[:2]), size))
    assert [x.shape for x in few] == [(20, 2)] * 3 and [x.shape for x in leaks._nearest(queries, [])] == [(20, 0)] * 3


def test_an_equal_hash_is_not_enough() -> None:
    """Pictures of one tone share a hash, whatever their tone, and so do a picture and its faint copy on another."""
    train = [np.full((32, 32, 3), 40, np.uint8), picture(32, 32, seed=1)]
    test = [np.full((32, 32, 3), 200, np.uint8), picture(32, 32, seed=2)]
    sides = {"train": train, "test": test}
    same = Hashes(np.arange(2), np.zeros(2, np.uint64))
    found = leaks.alike_samples([same], [same], similarity(sides))
    assert ids(found) == []


def test_features_far_closer_than_usual_are_found_whatever_their_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randn(n, 16, generator=generator) for n in (300, 50))
    test[7] = train[120] + 0.01 * torch.randn(16, generator=generator)
    test[30] = 5 * train[4]  # the direction counts
    for center, scale in ((0.0, 1.0), (100.0, 0.1)):  # the second nearly collapsed
        sides = [(center + scale * z, torch.arange(len(z)) + first) for z, first in ((train, 0), (test, 1000))]
        found = ids(leaks.alike_features(*sides))
        assert (1007, 120) in found
        assert len(found) <= 2
    assert ids(leaks.alike_features((train, torch.arange(300)), (test, torch.arange(50) + 1000))) == [
        (1007, 120),
        (1030, 4),
    ]


def test_collapsed_features_accuse_nobody() -> None:
    same = torch.ones(40, 8)
    assert ids(leaks.alike_features((same, torch.arange(40)), (same[:10], torch.arange(10)))) == []


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_equal_bytes_by_what_ingest_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(leaks, "_TESTS_AT_ONCE", at_once)
    rows = [(0, 11, False), (1, 12, False), (5, 11, True), (2, 13, False), (3, 12, True), (4, 99, True)]
    for index, part in enumerate((rows[:3], rows[3:])):
        columns = [list(column) for column in zip(*part, strict=True)]
        path = writing.content_path(tmp_path, index)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns, schema=writing.CONTENT), path)
    tables = [writing.content_path(tmp_path, index) for index in range(2)]
    assert ids(leaks.equal_bytes(tables, tables)) == [(3, 1), (5, 0)]


@pytest.mark.parametrize("listed", [True, False], ids=["new manifest", "older manifest"])
def test_bytes_that_ingest_noted_and_that_are_gone_are_said(tmp_path: Path, listed: bool) -> None:
    source = ImageFolder(ImageFolder.Config(path=good_tree(tmp_path / "raw", 20)))
    (part,) = source.parts(1)
    config = parse({**TREE, "source": {"name": "image_folder", "path": str(tmp_path / "raw")}})
    folder = tmp_path / "shards"
    rules = Rules(image_fields(1_000_000), test_fraction=0.25, row_group_bytes=1 << 20)
    made = ingest._finish(config, folder, [writing.write(source, Job(0, 0, part), rules, folder)])
    listing = manifest.load(folder)
    listing = listing if listed else listing.model_copy(update={"content": None})
    assert listing.compute_digest() == made.digest
    assert content.missing(folder, listing) == "" and len(content.paths(folder, listing)) == 1
    shutil.copytree(folder, tmp_path / "copied", ignore=shutil.ignore_patterns("parts"))
    assert "bytes" in content.missing(tmp_path / "copied", listing)
    found = leaks.summarize({}, 5, Shards(folder, listing), Shards(folder, listing), "they are not there")
    scores = Scores(leaks=found)
    assert "Exact copies were not looked for" in markdown(scores, "run", {})
    (look,) = overlaps.of(scores)
    (gate,) = gates._leaks(0.0, (look,))
    assert gate.passed is False and "they are not there" in gate.why
    assert Leaks.model_validate_json(found.model_copy(update={"missing": ""}).model_dump_json()).missing == ""


def test_each_test_sample_counts_once_by_its_strongest_evidence(tmp_path: Path) -> None:
    empty = Manifest(source={}, train=(), test=(), classes=None, num_quarantined=0, num_duplicates=0)
    here = leaks.Shards(tmp_path, empty)
    exact = Pairs(np.array([5]), np.array([100]), np.zeros(1))
    near = Pairs(np.array([5, 8, 9]), np.array([100, 101, 101]), np.array([0.0, 4.0, 2.0]))
    found = leaks.summarize({"bytes": exact, "phash": near}, 40, here, here)
    assert (found.num_exact, found.num_near, found.rate) == (1, 1, 0.05)
    named = [(pair.test, pair.train, pair.kind, pair.distance) for pair in found.pairs]
    assert named == [(100, 5, "bytes", 0.0), (101, 9, "phash", 2.0)]
    for kinds in ({}, {"bytes": leaks._NONE, "phash": leaks._NONE}):
        assert leaks.summarize(kinds, 40, here, here).model_dump(include={"num_exact", "num_near"}) == {
            "num_exact": 0, "num_near": 0
        }  # fmt: skip
    many = Pairs(np.arange(50), np.arange(50), np.linspace(0, 1, 50))
    found = leaks.summarize({"features": many}, 200, here, here)
    assert (found.num_near, len(found.pairs)) == (50, 20)
