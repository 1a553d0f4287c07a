"""Test samples that pre-training has seen: equal bytes, or pictures and features that are alike; no Ray.

Memory does not grow with the samples, only with the pairs found, some 100 bytes each.

Shapes: N train samples, M test samples, P pairs, m test samples looked at at once, n rows of a part, D feature width,
S side of a small gray picture.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.data.shards.schema import CONTENT, column_of_samples
from pipelines.evaluate.leaks.hashes import Hashes
from pipelines.evaluate.scoring.scores import LeakKind, LeakPair, Leaks
from pipelines.storage import parquet
from ssl_core.codecs._image.perceptual_hash import nearest_hashes
from ssl_core.evaluate._maths.features import centered_unit
from ssl_core.evaluate.knn import nearest

LISTED = 20
MAX_BITS = 10
"""Of 64: recompressed and resized copies of CIFAR-10 and Caltech-101 pictures all lie within."""
CANDIDATES = 4
"""Train samples near by hash whose pixels are compared."""
MIN_CORRELATION = 0.995
"""Of 16 x 16 gray pixels. Kept of copies as JPEG at quality 75: all of CIFAR-10, Fashion-MNIST, Caltech-101, digits; of
copies 1.5 times as large: 66, 99, 100, 77 %. Pairs of strangers: none in 1,000 x 20,000 CIFAR-10 or Fashion-MNIST."""
NEIGHBORS = 10
CLOSER = 0.01
"""Strict, as strangers come close too where features vary along few axes: with m of them, a share of about
9 * 0.01^(m / 2) by chance (the volumes within the first and the tenth neighbor)."""
_BLOCK = 1 << 24  # similarities held at once: 64 MB of float32
_PART = 256  # pictures of either split held at once
_QUERIES = 1 << 16  # test samples compared at once by their hashes: 16 MB
_TESTS_AT_ONCE = 1 << 22  # and by their bytes: 64 MB
_TINY = 1e-6  # cosine distances that are rounding

Similarity = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Of n rows of test and n of train, [n] each, how alike they are, in [-1, 1]."""


class Pairs(NamedTuple):
    """Samples of train and test that are alike; a test sample may be in several."""

    train: NDArray[np.int64]  # [P] sample ids
    test: NDArray[np.int64]  # [P]
    distance: NDArray[np.float64]  # [P]


_NOBODY = (np.zeros(0, np.int64), np.zeros(0, np.int64))
_NONE = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class Shards(NamedTuple):
    """Shards of which one split is looked at."""

    folder: Path
    listing: Manifest


def equal_bytes(test: Sequence[Path], train: Sequence[Path]) -> Pairs:
    """Test samples whose stored bytes equal those of a train sample, by what ingest noted of every sample.

    Args:
        test, train: the tables of the shards of either, see pipelines/data/shards/content.py; mostly the same.
    """
    return _joined(_equal_bytes(ids, content, train) for ids, content in _some_noted(test))


def _some_noted(tables: Sequence[Path]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(sample ids, hashes of the bytes) of the test samples, some `_TESTS_AT_ONCE` at a time."""
    held, num_held = [_NOBODY], 0
    for path in tables:
        if len((noted := _noted(path, True))[0]):
            held.append(noted)
            num_held += len(noted[0])
        if num_held >= _TESTS_AT_ONCE:
            yield np.concatenate([ids for ids, _ in held]), np.concatenate([content for _, content in held])
            held, num_held = [_NOBODY], 0
    yield np.concatenate([ids for ids, _ in held]), np.concatenate([content for _, content in held])


def _equal_bytes(ids: NDArray[np.int64], content: NDArray[np.int64], train: Sequence[Path]) -> Pairs:
    """The same for [m] test samples, against one part of the train samples after the other."""
    wanted = np.unique(content)  # [U]
    twin = np.full(len(wanted), -1)  # [U] the first train sample with this content
    for path in train if len(wanted) else ():
        train_ids, seen = _noted(path, False)  # [n] each
        place = np.searchsorted(wanted, seen).clip(max=len(wanted) - 1)
        new = np.flatnonzero((wanted[place] == seen) & (twin[place] < 0))
        where, first = np.unique(place[new], return_index=True)
        twin[where] = train_ids[new[first]]
    found = twin[np.searchsorted(wanted, content)]  # [m]
    same = found >= 0
    return Pairs(found[same], ids[same], np.zeros(int(same.sum())))


def _noted(path: Path, of_test: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(sample ids, hashes of the bytes) of one part's test samples, or of its others."""
    ids, content, test = (column.to_numpy() for column in parquet.table(path, CONTENT).columns)
    return ids[test == of_test], content[test == of_test]


def alike_samples(train: Iterable[Hashes], test: Iterable[Hashes], similarity: Similarity) -> Pairs:
    """Test samples of which a train sample near by perceptual hash also is the same by its pixels.

    The hash alone takes many pictures of one kind for copies (a third of Fashion-MNIST's test split within six bits).

    Args:
        train, test: all samples of either in windows, in the order of the shards; train is gone through once for every
            `_QUERIES` of test.
    """
    return _joined(_alike_samples(first, some, train, similarity) for first, some in _parts(test))


def _parts(windows: Iterable[Hashes]) -> Iterator[tuple[int, Hashes]]:
    """At most `_QUERIES` samples at a time, with the number of the first."""
    begin = 0
    for window in windows:
        for first in range(0, len(window.phash), _QUERIES):
            yield begin + first, window.part(slice(first, first + _QUERIES))
        begin += len(window.phash)


def _alike_samples(begin: int, test: Hashes, train: Iterable[Hashes], similarity: Similarity) -> Pairs:
    """The same for [m] test samples, of which the first is row `begin`."""
    bits, keys, ids = _nearest(test.phash, train)  # [m, k] each
    query, place = np.nonzero(bits <= MAX_BITS)  # [P] each
    key, train_id, distance = (x[query, place] for x in (keys, ids, bits))  # [P] each
    alike = [
        similarity(begin + query[part], key[part]) >= MIN_CORRELATION
        for part in np.split(np.arange(len(query)), range(_PART, len(query), _PART))
        if len(part)
    ]
    same = np.concatenate([np.zeros(0, np.bool_), *alike])  # [P]
    return Pairs(train_id[same], test.sample_id[query[same]], distance[same].astype(np.float64))


def _nearest(
    queries: NDArray[np.uint64], train: Iterable[Hashes]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of the CANDIDATES train samples nearest to each query: bits that differ, row, sample id, [m, k] each.

    Of equals the first row first, whatever the windows.
    """
    bits, rows, ids = (np.zeros((len(queries), 0), np.int64) for _ in range(3))
    begin = 0
    for window in train:
        near, place = nearest_hashes(queries, window.phash, min(CANDIDATES, len(window.phash)))  # [m, k] each
        bits, rows = np.hstack([bits, near]), np.hstack([rows, begin + place])
        ids = np.hstack([ids, window.sample_id[place]])
        best = bits.argsort(axis=1, kind="stable")[:, :CANDIDATES]
        bits, rows, ids = (np.take_along_axis(x, best, axis=1) for x in (bits, rows, ids))
        begin += len(window.phash)
    return bits, rows, ids


def _joined(parts: Iterable[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate(column) for column in zip(_NONE, *parts, strict=True)))


def alike_features(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Pairs:
    """Test samples far closer to one train sample than to the next ones, by the encoder.

    Closer than a fixed share of the distance to the tenth neighbor, which needs no scale and holds for encoders whose
    features all lie close together. Finds what a hash misses: copies that are cropped, turned or recolored.

    Args:
        train, test: features [N, D] and [M, D], each with its sample ids.
    """
    unit, queries = centered_unit(train[0], test[0])  # [N, D], [M, D]
    parts = [nearest(rows, unit, min(NEIGHBORS, len(unit))) for rows in queries.split(max(1, _BLOCK // len(unit)))]
    distance = 1 - torch.cat([p[0] for p in parts])  # [M, k]
    first, usual = distance[:, 0], distance[:, -1]  # [M] each
    close = (first <= CLOSER * usual) & (usual > _TINY)  # [M]
    found = torch.cat([p[1] for p in parts])[close, 0]  # [P]
    return Pairs(train[1][found].numpy(), test[1][close].numpy(), first[close].clamp_min(0).double().numpy())


def summarize(
    found: Mapping[LeakKind, Pairs], num_checked: int, test: Shards, train: Shards, missing: str = ""
) -> Leaks:
    """Count each test sample once, by the strongest evidence, and name the closest pairs.

    Args:
        found: `bytes`, `phash`, `features` -> pairs, strongest evidence first.
        num_checked: test samples looked at.
        missing: why their bytes were not compared.
    """
    strength = np.repeat(np.arange(len(found)), [len(pairs.test) for pairs in found.values()])  # [P]
    train_id, test_id, distance = _joined(found.values())  # [P] each
    order = np.lexsort((test_id, distance, strength))
    _, first = np.unique(test_id[order], return_index=True)  # [U] the strongest and closest pair of each test sample
    chosen = order[np.sort(first)]  # [U]
    kinds = list(found)
    num_exact = sum(int((strength[chosen] == n).sum()) for n, kind in enumerate(kinds) if kind == "bytes")
    listed = chosen[:LISTED].tolist()
    train_origin = _origins(train.folder, train.listing.train, train_id[listed].tolist())
    test_origin = _origins(test.folder, test.listing.test, test_id[listed].tolist())
    return Leaks(
        num_exact=num_exact,
        num_near=len(chosen) - num_exact,
        num_checked=num_checked,
        rate=len(chosen) / num_checked,
        pairs=[
            LeakPair(
                train=(key := int(train_id[row])),
                test=(query := int(test_id[row])),
                kind=kinds[strength[row]],
                distance=float(distance[row]),
                train_origin=train_origin.get(key, ""),
                test_origin=test_origin.get(query, ""),
            )
            for row in listed
        ],
        missing=missing,
    )


def _origins(shards: Path, files: Iterable[ShardFile], wanted: Iterable[int]) -> dict[int, str]:
    """Sample id -> the file, and the row in it, that it came from."""
    left, found = set(wanted), dict[int, str]()
    for file in files:
        if not left:
            break
        table = column_of_samples(shards / file.path, "sample_id", "origin")
        ids: NDArray[np.int64] = table["sample_id"].to_numpy()
        for row in np.flatnonzero(np.isin(ids, list(left))).tolist():
            found[int(ids[row])] = table["origin"][row].as_py()
        left -= set(found)
    return found
