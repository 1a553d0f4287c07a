"""What first-level folders, side-cars and links of an image folder are taken for, and what is said about them."""

import os
from pathlib import Path

import pytest

from pipelines.data.parts import jobs
from pipelines.data.shards import writing
from pipelines.data.shards.writing import Rules
from pipelines.data.sources.image_folder import ImageFolder
from pipelines.errors import UserError
from tests.support.images import encoded, image_fields, write_tree
from tests.support.reading import SHARD_MB, made, samples


def tree(root: Path, *names: str) -> Path:
    return write_tree(root, {name: encoded(i) for i, name in enumerate(names)})


@pytest.mark.parametrize(
    "folders",
    [
        ("train2017", "val2017"),
        ("train", "test", "unlabeled"),
        ("images", "masks"),
        ("train", "holdout"),
        ("train", "test", "cats"),
        ("train_images", "test_images"),
    ],
)
def test_split_and_mask_names_are_no_classes(folders: tuple[str, ...], tmp_path: Path) -> None:
    tree(tmp_path, *(f"{folder}/a/1.png" for folder in folders))
    with pytest.raises(UserError, match=r"^source\.path: .* look like splits, or images and masks; set source\.path"):
        made("image_folder", path=tmp_path).parts(SHARD_MB)
    assert len(samples(made("image_folder", path=tmp_path, labels="folder"))) == len(folders)


@pytest.mark.parametrize(
    "folders", [("cats", "masks"), ("train", "plane"), ("training shoes", "test tubes"), ("0", "1")]
)
def test_other_names_are_classes(folders: tuple[str, ...], tmp_path: Path) -> None:
    tree(tmp_path, *(f"{folder}/1.png" for folder in folders))
    source = made("image_folder", path=tmp_path)
    assert {raw.label for raw in samples(source)} == set(folders) and source.remarks == ()


def test_train_and_test_below_the_folder_are_the_splits(tmp_path: Path) -> None:
    names = [f"{split}/{kind}/{i}.png" for split in ("train", "Test") for kind in "ab" for i in range(2)]
    source = made("image_folder", path=tree(tmp_path, *names, ".git/x.png"))
    parts = source.parts(SHARD_MB)
    assert [(part.split, part.count) for part in parts] == [("train", 4), ("test", 4)]
    assert {raw.label for part in parts for raw in source.read(part)} == {"a", "b"}
    assert source.remarks == ("train/ is the train split, Test/ the test split",)
    both = made("image_folder", path=tmp_path / "train", test_path=tmp_path / "Test")
    assert samples(both) == samples(source)


def test_val_is_left_out_or_joins_or_stands_for_test(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{split}/{kind}/1.png" for split in ("train", "val", "test") for kind in "ab"))
    source = made("image_folder", path=tmp_path)
    assert [(part.split, part.count) for part in source.parts(SHARD_MB)] == [("train", 2), ("test", 2)]
    assert "val/ is left out (source.val=join)" in source.remarks[0]
    source = made("image_folder", path=tmp_path, val="join")
    assert [(part.split, part.count) for part in source.parts(SHARD_MB)] == [("train", 2), ("train", 2), ("test", 2)]
    assert [raw.file for raw in samples(source)][2] == "val/a/1.png" and "val/ joins train" in source.remarks[0]
    for name in ("test/a/1.png", "test/b/1.png"):
        (tmp_path / name).unlink()
    for name in ("test/a", "test/b", "test"):
        (tmp_path / name).rmdir()
    source = made("image_folder", path=tmp_path)
    assert [(part.split, part.count) for part in source.parts(SHARD_MB)] == [("train", 2), ("test", 2)]


def test_why_there_are_no_labels_is_said(tmp_path: Path) -> None:
    source = made("image_folder", path=tree(tmp_path / "one", "cats/1.png", "dogs/2.png", "cover.jpg"))
    assert {raw.label for raw in samples(source)} == {None}
    said = "no labels: 1 of 3 images lie beside the 2 folders (cover.jpg); move them if the folders (cats, dogs) are"
    assert source.remarks[0].startswith(said)
    source = made("image_folder", path=tree(tmp_path / "two", "wrap/cats/1.png", "wrap/dogs/2.png"))
    assert {raw.label for raw in samples(source)} == {None}
    assert source.remarks[0].endswith(f"(cats, dogs) are the classes, set source.path={tmp_path / 'two' / 'wrap'}")
    plain = made("image_folder", path=tree(tmp_path / "three", "1.png", "2.png"))
    assert plain.parts(SHARD_MB) and plain.remarks == ()


def test_side_cars_are_left_out_and_damaged_images_are_not(tmp_path: Path) -> None:
    tree(tmp_path / "in", *(f"{i}.png" for i in range(4)))
    write_tree(
        tmp_path / "in", {f"{i}.txt": b"a cat" for i in range(4)} | {"a.XML": b"<x/>", "b.heic": b"?", "c.jpg": b""}
    )
    source = made("image_folder", path=tmp_path / "in")
    assert isinstance(source, ImageFolder)
    (job,) = jobs(source, SHARD_MB)
    record = writing.write(source, job, Rules(image_fields(10_000), 0.0, 1 << 20), tmp_path / "out")
    assert (record.num_samples, record.num_other, record.num_bad) == (11, 5, 2)
    assert source.remarks == ("5 files of other kinds left out (.txt, .xml)",)
    assert record.train is not None and record.train.num_rows == 4


def test_links_are_followed_where_the_config_says_so(tmp_path: Path) -> None:
    blobs = tree(tmp_path / "blobs", "x.png", "more/y.png")
    root = tree(tmp_path / "root", "a.png")
    (root / "b.png").symlink_to(blobs / "x.png")
    (root / "c").symlink_to(blobs / "more")
    (root / "loop").symlink_to(root)
    os.mkfifo(tmp_path / "pipe")
    (root / "p.png").symlink_to(tmp_path / "pipe")
    assert sum(raw.data is not None for raw in samples(made("image_folder", path=root))) == 1
    found = {raw.file: raw.error for raw in samples(made("image_folder", path=root, follow_links=True))}
    assert found == {"root/a.png": None, "root/b.png": None, "root/c/y.png": None, "root/p.png": "not a regular file"}
    (root / "list.csv").write_text("path\nb.png\n../blobs/x.png\n")
    for follow, good in ((False, [False, False]), (True, [True, False])):
        source = made("csv_manifest", path=root / "list.csv", follow_links=follow)
        assert [raw.data is not None for raw in samples(source)] == good
