"""Row groups are decoded once per node, and nobody who reads them can tell: neither by the views nor by the records."""

import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.batches import decoded_cache, pixel_file, quarantine, reading
from pipelines.data.batches.decoded_cache import DecodedCache
from pipelines.data.batches.order import Rows
from pipelines.data.batches.reading import Arrays, Piece, Views, read_piece
from pipelines.data.batches.row_groups import Group
from pipelines.data.shards.schema import SAMPLES
from pipelines.errors import UserError
from pipelines.storage import lock, outbox
from ssl_core.augment.image_crop_jitter import ImageCropJitter
from ssl_core.build import build_chain
from ssl_core.catalog import find, names
from tests.support.images import encoded

ROWS = 5
KINDS = ("PNG", "JPEG", "WEBP", "JPEG", "PNG")


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))  # for processes started here
    return folder


@pytest.fixture
def decodes(monkeypatch) -> Callable[[], int]:
    """How many pictures were decoded since it was asked last."""
    counted: Counter[str] = Counter()
    for module in (reading, pixel_file):
        real = module.decode

        def counting(*args, _real=real, **options):
            counted["decodes"] += 1
            return _real(*args, **options)

        monkeypatch.setattr(module, "decode", counting)
    return lambda: counted.pop("decodes", 0)


def shard(folder: Path, side: int = 40, bad: tuple[int, ...] = (), groups: int = 3) -> list[Group]:
    """Row groups of five pictures each, of several sizes and formats; of the bad ones half the file is there."""
    path = folder / "part.parquet"
    with pq.ParquetWriter(path, SAMPLES) as writer:
        for group in range(groups):
            ids = np.arange(ROWS) + ROWS * group
            images = [encoded(i, side + i % 3, side - i % 4, kind) for i, kind in zip(ids, KINDS, strict=True)]
            images = [data[: len(data) // 2] if i in bad else data for i, data in zip(ids, images, strict=True)]
            writer.write_table(pa.table([ids, images, [f"{i}.img" for i in ids]], schema=SAMPLES))
    return [Group(str(path), number) for number in range(groups)]


def views(stage: Path, cache: DecodedCache | None, size: int = 24) -> Views:
    stage.mkdir(exist_ok=True)
    chains = (ImageCropJitter.Config(size=size), ImageCropJitter.Config(size=size, mode="exact"))
    return Views(chains, seed=3, max_pixels=10**7, slow_read_seconds=30, stage=stage, decoded=cache)


def pieces(groups: list[Group], cuts: int = 2) -> Iterator[Piece]:
    """All rows, shuffled, in some pieces, each over all row groups."""
    order = np.random.default_rng(0).permutation(ROWS * len(groups))
    for part in np.array_split(order, cuts):
        yield Piece(tuple(groups), Rows(part // ROWS, part % ROWS), epoch=1)


def read(groups: list[Group], given: Views) -> list[Arrays]:
    return [read_piece(piece, given) for piece in pieces(groups)]


def same(ones: list[Arrays], others: list[Arrays]) -> bool:
    equal = [np.array_equal(one[name], other[name]) for one, other in zip(ones, others, strict=True) for name in one]
    return all(equal) and len(equal) >= 4


CACHE = DecodedCache(name="test", limit_mb=100)


def test_every_row_is_decoded_once_and_the_bytes_stay_what_they_are(tmp_path, decodes):
    groups = shard(tmp_path)
    plain = read(groups, views(tmp_path / "plain", None))
    assert decodes() == 15
    first = read(groups, views(tmp_path / "first", CACHE))
    assert decodes() == 15, "two pieces, each over all row groups"
    second = read(groups, views(tmp_path / "second", CACHE))
    assert decodes() == 0
    assert same(first, plain) and same(second, plain)
    other_epoch = [read_piece(replace(piece, epoch=2), views(tmp_path / "second", CACHE)) for piece in pieces(groups)]
    assert decodes() == 0 and not same(other_epoch, plain)


@pytest.mark.parametrize("name", [n for n in names("ssl_core.augment") if n.startswith("image")])
def test_every_chain_takes_pixels_that_it_cannot_write_to(name, tmp_path):
    groups = shard(tmp_path)
    read(groups, views(tmp_path / "first", CACHE))
    images = [CACHE.find(groups[0]).row(row) for row in range(ROWS)]
    assert not any(image.flags.writeable for image in images)
    chain = build_chain(find("ssl_core.augment", name).Config(size=24))
    ids = np.arange(ROWS)
    assert np.array_equal(chain(images, ids, 7), chain([image.copy() for image in images], ids, 7))


def test_pictures_that_shrink_while_they_are_decoded_are_not_kept(tmp_path, decodes):
    path = tmp_path / "part.parquet"
    photos = [encoded(i, 200, 240, "JPEG") for i in range(ROWS)]
    pq.write_table(pa.table([np.arange(ROWS), photos, ["x"] * ROWS], schema=SAMPLES), path)
    group = [Group(str(path), 0)]
    plain = read(group, views(tmp_path / "plain", None, size=8))
    decodes()
    assert same(read(group, views(tmp_path / "stage", CACHE, size=8)), plain)
    assert decodes() == ROWS and CACHE.usage() is None
    read(group, views(tmp_path / "stage", CACHE, size=150))  # now they are
    decodes()
    assert same(read(group, views(tmp_path / "stage", CACHE, size=8)), plain)
    assert decodes() == 4, "one crop is too small to shrink; what shrinks is not made of the whole: its bytes differ"


def test_rows_that_do_not_decode_are_quarantined_as_ever(tmp_path):
    groups = shard(tmp_path, bad=(6, 7))
    plain = read(groups, views(tmp_path / "plain", None))
    for stage in (tmp_path / "first", tmp_path / "second"):
        assert same(read(groups, views(stage, CACHE)), plain)
        kept = quarantine.read(stage)
        assert {q.sample_id: q for q in kept} == {q.sample_id: q for q in quarantine.read(tmp_path / "plain")}
        assert {(q.sample_id, q.replaced_by) for q in kept} == {(6, 8), (7, 8)} and len(kept) == 2


def kept_bytes() -> int:
    return sum(path.stat().st_size for path in CACHE.folder.glob("*.pixels"))


def test_the_budget_holds_and_that_it_is_full_is_said_once(tmp_path, decodes):
    groups = shard(tmp_path, side=200)  # 0.6 MB each
    cache = CACHE.model_copy(update={"limit_mb": 1})
    plain = read(groups, views(tmp_path / "plain", None, size=150))
    decodes()
    assert same(read(groups, views(tmp_path / "stage", cache, size=150)), plain)
    assert decodes() == 15, "what does not fit is not decoded to find that out"
    assert same(read(groups, views(tmp_path / "stage", cache, size=150)), plain)
    assert decodes() == 10
    usage = cache.usage()
    assert usage.is_full and usage.limit == 1 << 20 and usage.used == kept_bytes() > 500_000
    (line,) = (tmp_path / "stage" / outbox.NOTES).read_text().splitlines()
    assert "0 MB are kept on this node, its budget is 1 MB (tune.decoded_cache_mb); the rest is decoded each" in line


def test_the_budget_is_derived_from_the_memory_and_the_disk(tmp_path, monkeypatch):
    groups = shard(tmp_path)
    cache = CACHE.model_copy(update={"limit_mb": None})
    read(groups, views(tmp_path / "stage", cache))
    assert 0 < cache.usage().used < cache.usage().limit
    assert cache.remove().used > 0 and not cache.folder.exists()
    limit = tmp_path / "memory.max"
    limit.write_text("4000\n")
    monkeypatch.setattr(decoded_cache, "_CGROUP_LIMIT", limit)
    read(groups, views(tmp_path / "stage", cache))
    assert cache.usage().limit == 1000 and cache.usage().is_full and cache.usage().used == 0


@pytest.mark.parametrize("damage", ["empty", "cut", "begin", "table", "pixels"])
def test_a_damaged_file_is_passed_over_and_made_anew(damage, tmp_path, decodes):
    groups = shard(tmp_path)
    plain = read(groups, views(tmp_path / "plain", None))
    read(groups, views(tmp_path / "stage", CACHE))
    path = CACHE._path(groups[1])
    whole = path.read_bytes()
    torn = bytearray(whole)
    torn[{"begin": 0, "table": -40, "pixels": 3000}.get(damage, 0)] ^= 0xFF
    path.write_bytes({"empty": b"", "cut": whole[:-7]}.get(damage, bytes(torn)))
    decodes()
    assert same(read(groups, views(tmp_path / "stage", CACHE)), plain)
    assert decodes() >= 1
    read(groups, views(tmp_path / "stage", CACHE))
    decodes()
    assert same(read(groups, views(tmp_path / "stage", CACHE)), plain)
    assert decodes() == 0 and path.read_bytes() == whole


def test_while_one_writes_the_others_decode_what_they_need(tmp_path, decodes):
    groups = shard(tmp_path)
    plain = read(groups, views(tmp_path / "plain", None))
    read(groups[:1], views(tmp_path / "stage", CACHE))
    path = CACHE._path(groups[1])
    decodes()
    with lock.tried(path.with_suffix(".lock")) as is_ours:
        path.with_suffix(".part").write_bytes(b"half of it")  # and then it is killed
        assert is_ours and same(read(groups, views(tmp_path / "stage", CACHE)), plain)
    assert decodes() == 10 and CACHE.find(groups[1]) is None
    assert same(read(groups, views(tmp_path / "stage", CACHE)), plain)
    assert decodes() == 5 and not list(CACHE.folder.glob("*.part"))


def read_with_others(groups: list[Group], stage: Path, number: int) -> list[Arrays]:
    """In a process of its own; begins when all three are there."""
    given = views(stage / str(number), CACHE)
    (stage / f"{number}.ready").touch()
    while len(list(stage.glob("*.ready"))) < 3:
        time.sleep(0.001)
    return read(groups, given)


@pytest.mark.timeout(600)
def test_several_processes_fill_it_at_once(tmp_path):
    groups = shard(tmp_path, side=120, groups=24)
    plain = read(groups, views(tmp_path / "plain", None))
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        found = [pool.submit(read_with_others, groups, tmp_path, number) for number in range(3)]
        assert all(same(future.result(), plain) for future in found)
    assert len(list(CACHE.folder.glob("*.pixels"))) == 24 and not list(CACHE.folder.glob("*.part"))
    assert CACHE.usage().used == kept_bytes(), "nothing was reserved twice"
    assert all(CACHE.find(group).row(row) is not None for group in groups for row in range(ROWS))


def test_a_disk_that_is_full_is_said_and_costs_no_row(tmp_path):
    groups = shard(tmp_path, side=200)
    plain = read(groups, views(tmp_path / "plain", None))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert same(read(groups, views(tmp_path / "stage", CACHE)), plain)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (line,) = (tmp_path / "stage" / outbox.NOTES).read_text().splitlines()
    assert "cannot be written (File too large); the rest is decoded each time" in line
    assert kept_bytes() == 0 and not list(CACHE.folder.glob("*.part"))


def test_nobody_else_may_read_it_and_a_folder_of_others_is_refused(tmp_path, temp):
    groups = shard(tmp_path)
    read(groups, views(tmp_path / "stage", CACHE))
    assert CACHE.folder.is_relative_to(temp)
    assert CACHE.folder.stat().st_mode & 0o077 == CACHE.folder.parent.stat().st_mode & 0o077 == 0
    CACHE.folder.parent.rename(tmp_path / "elsewhere")
    (temp / f"selfray-decoded-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not a folder of yours"):
        read(groups, views(tmp_path / "stage", CACHE))
