"""What each source lists, reads and refuses."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.data.sources import _files
from pipelines.data.sources.base import Raw
from pipelines.errors import UserError
from tests.support.data import shared
from tests.support.images import bad_files, encoded, good_tree, write_tree
from tests.support.reading import SHARD_MB, made, refusal, samples


class TestImageFolder:
    def test_lists_nested_files_in_order_with_labels(self, tmp_path: Path) -> None:
        good_tree(tmp_path / "photos")
        write_tree(tmp_path / "photos", {".hidden/x.png": b"", "a/.DS_Store": b"", "b/Thumbs.db": b"", "a/.y.jpg": b""})
        found = samples(made("image_folder", path=tmp_path / "photos"))
        names = [raw.file for raw in found]
        assert names == sorted(names)
        assert names[:2] == ["photos/a/000.jpg", "photos/a/003.png"]
        assert len(found) == 12
        assert {raw.label for raw in found if raw.file.startswith("photos/a/deep/")} == {"a"}
        assert {raw.label for raw in found} == {"a", "b"}
        assert all(raw.data and raw.error is None for raw in found)

    def test_auto_labels_need_every_image_in_a_folder(self, tmp_path: Path) -> None:
        good_tree(tmp_path)
        write_tree(tmp_path, {"loose.png": encoded(1)})
        assert {raw.label for raw in samples(made("image_folder", path=tmp_path))} == {None}
        forced = samples(made("image_folder", path=tmp_path, labels="folder"))
        assert {raw.label for raw in forced} == {"a", "b", None}
        assert {raw.label for raw in samples(made("image_folder", path=tmp_path / "a"))} == {None}

    def test_stray_text_beside_the_folders_does_not_take_the_labels_away(self, tmp_path: Path) -> None:
        write_tree(good_tree(tmp_path), {"readme.md": b"hello"})
        found = samples(made("image_folder", path=tmp_path))
        assert found[-1] == Raw(f"{tmp_path.name}/readme.md", error="not an image (.md)", other=True)
        assert {raw.label for raw in found[:-1]} == {"a", "b"}

    def test_folders_named_as_splits_are_not_classes(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {"train/x/1.png": encoded(1), "test/x/2.png": encoded(2), "more/x/3.png": encoded(3)})
        with pytest.raises(UserError, match=r"look like splits, .*; set source\.path and source\.test_path"):
            made("image_folder", path=tmp_path).parts(SHARD_MB)
        parts = made("image_folder", path=tmp_path / "train", test_path=tmp_path / "test").parts(SHARD_MB)
        assert [part.split for part in parts] == ["train", "test"]

    def test_links_that_lead_outside_are_refused_and_others_followed(self, tmp_path: Path) -> None:
        root = write_tree(tmp_path / "root", {"a.png": encoded(1), "dir/b.png": encoded(2)})
        outside = write_tree(tmp_path / "outside", {"secret.png": encoded(3)})
        (root / "c.png").symlink_to(outside / "secret.png")
        (root / "d.png").symlink_to(root / "a.png")
        (root / "e.png").symlink_to(root / "nowhere.png")
        (root / "f").symlink_to(outside)
        (root / "g.png").symlink_to(root / "g.png")
        os.mkfifo(root / "h.png")
        found = {raw.file: raw for raw in samples(made("image_folder", path=root, labels="none"))}
        errors = {name: raw.error for name, raw in found.items()}
        assert errors.pop("root/c.png", "").startswith("leads outside")
        assert errors.pop("root/e.png", "") == "cannot be read (No such file or directory)"
        assert errors.pop("root/f", "").startswith("leads outside")
        assert errors.pop("root/g.png", "").startswith("cannot be read (Symlink loop")
        assert errors.pop("root/h.png", "") == "not a regular file"
        assert errors == {"root/a.png": None, "root/d.png": None, "root/dir/b.png": None}

    def test_names_that_are_not_utf8_survive_the_way_to_the_task(self, tmp_path: Path) -> None:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded(1))
        source = made("image_folder", path=tmp_path)
        (part,) = source.parts(SHARD_MB)
        part = type(part)(part.split, part.count, json.loads(json.dumps(part.what)))
        (raw,) = source.read(part)
        assert raw.data
        assert raw.file.encode().endswith(b"caf\\udce9.png")

    def test_huge_files_are_refused_unread(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_files, "MAX_BYTES", 1 << 20)
        write_tree(tmp_path, {"a.png": encoded(1)})
        with (tmp_path / "b.png").open("wb") as file:
            file.truncate(5 << 20)
        assert samples(made("image_folder", path=tmp_path))[1].error == "5 MB, more than 1 MB"

    def test_parts_follow_bytes_and_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_tree(tmp_path, {f"{i}.png": bytes(400_000) for i in range(7)})
        source = made("image_folder", path=tmp_path)
        assert [part.count for part in source.parts(1)] == [2, 2, 2, 1]
        monkeypatch.setattr(_files, "MAX_SAMPLES", 3)
        assert [part.count for part in source.parts(1000)] == [3, 3, 1]

    def test_refusals_name_the_key(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        write_tree(tmp_path / "texts", {"a.txt": b"x", "b.txt": b"y"})
        write_tree(tmp_path / "good", {"a.png": encoded(1)})
        assert "source.path: " in refusal("image_folder", path=tmp_path / "nowhere")
        assert "no such file or folder" in refusal("image_folder", path=tmp_path / "nowhere")
        assert "is empty" in refusal("image_folder", path=tmp_path / "empty")
        assert "2 files but no image" in refusal("image_folder", path=tmp_path / "texts")
        assert "is a file" in refusal("image_folder", path=tmp_path / "good" / "a.png")
        assert "source.test_path: " in refusal("image_folder", path=tmp_path / "good", test_path=tmp_path / "empty")

    def test_relative_paths_are_those_of_the_driver(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good_tree(tmp_path / "raw")
        monkeypatch.chdir(tmp_path)
        source = made("image_folder", path="raw")
        monkeypatch.chdir("/")
        assert samples(source)[0].file == "raw/a/000.jpg"

    def test_fingerprint_sees_added_changed_and_removed_files(self, tmp_path: Path) -> None:
        good_tree(tmp_path)
        source = made("image_folder", path=tmp_path)
        seen = [source.fingerprint()]
        assert source.fingerprint() == seen[0]
        write_tree(tmp_path, {"b/new.png": encoded(50)})
        seen.append(source.fingerprint())
        os.utime(tmp_path / "b" / "new.png", ns=(1, 1))
        seen.append(source.fingerprint())
        (tmp_path / "a" / "000.jpg").unlink()
        seen.append(source.fingerprint())
        assert len(set(seen)) == 4

    def test_caltech_folder(self) -> None:
        found = samples(made("image_folder", path=shared("caltech101_42", "raw")))
        assert len(found) == 120
        assert {raw.label for raw in found} == {"butterfly", "grand_piano", "laptop", "starfish", "sunflower"}


def test_digits_are_whole_and_their_test_is_fixed() -> None:
    from sklearn.datasets import load_digits

    from ssl_core.codecs._image.decode import decode

    source = made("digits")
    train, test = source.parts(SHARD_MB)
    assert (train.split, train.count, test.split, test.count) == ("train", 1437, "test", 360)
    assert sorted(train.what["index"] + test.what["index"]) == list(range(1797))
    assert test.what["index"][:4] == FIRST_TEST_DIGITS
    bundled = load_digits()
    for raw in list(source.read(test))[:20]:
        assert raw.data is not None
        assert raw.row is not None
        shown = decode(raw.data, max_pixels=64)[:, :, 0]  # [8, 8]
        assert np.array_equal(shown, np.round(bundled.images[raw.row] * 255 / 16))
        assert raw.label == str(bundled.target[raw.row])


FIRST_TEST_DIGITS = [789, 1055, 380, 244]


class TestTorchvision:
    def test_a_data_set_without_splits(self, tmp_path: Path) -> None:
        options = {"size": 10, "image_size": [3, 8, 12], "num_classes": 3}
        source = made("torchvision", dataset="FakeData", root=tmp_path, options=options)
        (part,) = source.parts(SHARD_MB)
        assert (part.split, part.count) == (None, 10)
        found = list(source.read(part))
        assert [raw.data for raw in found] == [raw.data for raw in source.read(part)]
        assert {raw.label for raw in found} <= {"0", "1", "2"}
        assert all(raw.data and raw.data.startswith(b"\x89PNG") for raw in found)

    def test_train_argument_on_raw_mnist_files(self, tmp_path: Path) -> None:
        write_mnist(tmp_path / "MNIST" / "raw")
        source = made("torchvision", dataset="MNIST", root=tmp_path, download=False)
        parts = source.parts(SHARD_MB)
        assert [(part.split, part.count) for part in parts] == [("train", 6), ("test", 3)]
        assert [raw.label for raw in source.read(parts[1])] == ["0 - zero", "1 - one", "2 - two"]

    def test_split_argument_with_val_for_test(self, tmp_path: Path) -> None:
        good = encoded(1, kind="JPEG")
        for name, split in (("imagenette2/train/n01440764", "train"), ("imagenette2/val/n01440764", "val")):
            write_tree(tmp_path, {f"{name}/{split}.JPEG": good})
        for other in ("n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413"):
            write_tree(tmp_path, {f"imagenette2/{split}/{other}/{split}.JPEG": good for split in ("train", "val")})
        for other in ("n03445777", "n03888257"):
            write_tree(tmp_path, {f"imagenette2/{split}/{other}/{split}.JPEG": good for split in ("train", "val")})
        source = made("torchvision", dataset="Imagenette", root=tmp_path, download=False)
        assert [(part.split, part.count) for part in source.parts(SHARD_MB)] == [("train", 10), ("test", 10)]

    def test_refusals(self, tmp_path: Path) -> None:
        assert "did you mean 'CIFAR10'?" in refusal("torchvision", dataset="CIFAR1O", root=tmp_path)

        def said(**options: Any) -> str:
            with pytest.raises(UserError) as error:
                made("torchvision", root=tmp_path, **options).parts(SHARD_MB)
            assert "\n" not in str(error.value)
            return str(error.value)

        assert "set source.download to false" in said(dataset="CIFAR10", download=False)
        assert "source.options: FakeData refuses" in said(dataset="FakeData", options={"sise": 3})

    def test_no_network_is_said_clearly(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        source = made("torchvision", dataset="CIFAR10", root=tmp_path)
        with pytest.raises(UserError, match=r"cannot get CIFAR10.*with no network"):
            source.parts(SHARD_MB)


def write_mnist(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, count in (("train", 6), ("t10k", 3)):
        images = np.zeros((count, 28, 28), np.uint8)
        header = np.array([0x803, count, 28, 28], ">i4").tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = np.arange(count, dtype=np.uint8).tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(np.array([0x801, count], ">i4").tobytes() + labels)


def test_bad_files_are_listed_not_skipped(tmp_path: Path) -> None:
    write_tree(good_tree(tmp_path), bad_files())
    assert len(samples(made("image_folder", path=tmp_path))) == 12 + len(bad_files())
