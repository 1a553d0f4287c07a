"""What plain folders and files are taken for, and the lines that say so; no Ray."""

import os

import numpy as np
import pytest

from pipelines.config.parse import checked
from pipelines.data.recognize import kept
from pipelines.data.recognize.kinds import is_data
from pipelines.data.recognize.listing import listing, spread
from pipelines.data.recognize.recipe import name_of, propose
from pipelines.errors import UserError
from ssl_core.catalog import find
from tests.support.images import encoded, write_tree
from tests.support.plain_data import parquet, pictures, series_files, stored_series, table, waves


def proposed(path):
    """The recipe for data that ingest can list, too; its YAML gives the same config again."""
    made = propose(path)
    config = checked(made.tree)
    text = kept.text_of(made.tree, made.lines)
    again = path.parent / ".again.yaml"
    again.write_text(text)
    assert checked(kept.read_tree(again)) == config
    source = find("pipelines.data.sources", config.source.name)(config.source)
    num = sum(part.count for part in source.parts(64))
    return made.tree, made.lines, num


def test_a_folder_of_images(tmp_path):
    tree, lines, num = proposed(pictures(tmp_path / "my cats"))
    assert tree["source"] == {"name": "image_folder", "path": str(tmp_path / "my cats")}
    assert tree["name"] == "my-cats" and num == 40
    assert lines[0] == "recognized: 40 images in 2 class folders (a, b) (image_folder)"
    assert lines[1] == "recipe:     folder_simclr with views of 32 px: the median of 40 images is 32x32"
    assert tree["views"]["global"]["size"] == tree["views"]["eval"]["size"] == 32
    assert tree["train"]["global_batch_size"] == 16  # of the 36 to train on


@pytest.mark.parametrize(("side", "size"), [(8, 16), (28, 28), (30, 28), (64, 64), (80, 64), (96, 96), (400, 96)])
def test_views_are_as_large_as_small_images_and_of_one_size_for_photos(tmp_path, side, size):
    tree, _, _ = proposed(pictures(tmp_path / "x", 20, side))
    assert tree["views"]["eval"]["size"] == size


def test_gray_images_keep_their_gray(tmp_path):
    gray = propose(pictures(tmp_path / "gray", 20, channels=1)).tree["views"]["global"]
    assert (gray["saturation"], gray["hue"], gray["gray"]) == (0, 0, 0)
    assert "gray" not in propose(pictures(tmp_path / "color", 20)).tree["views"]["global"]


def test_images_with_texts_hidden_files_and_splits(tmp_path):
    root = tmp_path / "pets"
    pictures(root / "train", 40)
    pictures(root / "test", 20)
    write_tree(
        root, {"train/.cache/x.csv": b"a\n1\n", "train/a/000.txt": b"0 1 2", "README.md": b"#", ".DS_Store": b""}
    )
    tree, lines, num = proposed(root)
    assert (
        lines[0] == "recognized: 60 images in train/ and test/ (image_folder)" and num == 61
    )  # a text is left out later
    assert "about 40 samples" in lines[-1] and tree["name"] == "pets"


def test_files_without_a_suffix_are_judged_by_their_first_bytes(tmp_path):
    write_tree(tmp_path / "x", {f"{i:03d}": encoded(i) for i in range(20)})
    assert propose(tmp_path / "x").tree["source"]["name"] == "image_folder"
    write_tree(tmp_path / "y", {f"{i:03d}": b"nothing" for i in range(20)})
    with pytest.raises(UserError, match="holds no data that are recognized; it holds 20 without a suffix"):
        propose(tmp_path / "y")


def test_a_table_of_paths_beside_the_images_or_alone(tmp_path):
    pictures(tmp_path / "x", 30)
    names = sorted(path.relative_to(tmp_path / "x").as_posix() for path in (tmp_path / "x").rglob("*.png"))
    file = table(tmp_path / "x" / "all.csv", {"file": names, "label": [name[0] for name in names]})
    for given in (tmp_path / "x", file):
        tree, lines, num = proposed(given)
        assert tree["source"] == {"name": "csv_manifest", "path": str(file), "image": "file", "label": "label"}
        assert num == 30 and "column 'file' holds the paths, column 'label' the labels" in lines[1]
    odd = table(tmp_path / "odd.csv", {"file": ["nowhere/1.png"] * 20})
    with pytest.raises(UserError, match=r"column 'file' names images such as nowhere/1\.png, none below"):
        propose(odd)
    table(tmp_path / "x" / "all.csv", {"number": range(30)})  # says nothing about files
    assert propose(tmp_path / "x").tree["source"]["name"] == "image_folder"


def test_a_table_per_series_in_class_folders(tmp_path):
    tree, lines, num = proposed(series_files(tmp_path / "walks"))
    assert tree["source"] == {"name": "series_csv", "path": str(tmp_path / "walks"), "labels": "folder"}
    assert num == 20 and "20 time series of about 40 rows, 2 channels (x0, x1)" in lines[0]
    assert tree["method"]["name"] == "simclr"
    assert (tree["views"]["eval"]["length"], tree["views"]["eval"]["channels"]) == (32, 2)


def test_one_long_series_is_cut_into_windows(tmp_path):
    values = waves(1, 5000)[0][:, 0]
    dates = np.datetime64("2024-01-01T00:00:00") + np.arange(5000) * np.timedelta64(1, "h")
    file = table(tmp_path / "load.csv", {"date": [str(d).replace("T", " ") for d in dates], "kW": values})
    tree, lines, num = proposed(file)
    source = {"name": "series_csv", "path": str(file), "time": "date", "window": 128, "stride": 16}
    assert tree["source"] == {**source, "test_tail": 0.2} and num == 299
    assert tree["method"]["name"] == "mae"
    for view in tree["views"].values():
        assert (view["length"], view["normalize"]) == (96, "view"), "a quarter of a window is its future"
    assert tree["evaluate"]["tasks"] == [{"name": "forecasting", "horizons": [4, 16, 32]}]
    assert any("with views of 96 steps: the windows but for their last 32, which are forecast" in x for x in lines)
    assert "assumed:    column 'date' is the time" in lines
    assert any("one series: the last 20% of its rows are held out" in line for line in lines)


def test_a_long_table_of_many_series(tmp_path):
    ids = np.repeat(np.arange(300), 20)
    columns = {
        "row": np.arange(6000),
        "unit": ids,
        "t": np.tile(np.arange(20), 300),
        "x": np.sin(ids),
        "class": ids % 3,
    }
    tree, lines, num = proposed(table(tmp_path / "units.tsv", columns))
    assert tree["source"] == {
        "name": "series_csv", "path": str(tmp_path / "units.tsv"), "id": "unit", "time": "t", "label": "class",
        "values": ["x"],
    }  # fmt: skip
    assert num == 300 and "300 time series of about 20 rows, 1 channel (x)" in lines[0]
    assert "assumed:    column 'row' counts the rows and is left out" in lines


def test_train_and_test_tables_are_the_splits(tmp_path):
    for name in ("train", "test"):
        table(tmp_path / "x" / f"{name}.csv", {"a": waves(1, 4000)[0][:, 0]})
    tree, lines, _ = proposed(tmp_path / "x")
    assert tree["source"]["path"].endswith("/train.csv") and tree["source"]["test_path"].endswith("/test.csv")
    assert not any("held out" in line for line in lines)


def test_tables_that_are_no_series(tmp_path):
    numbers = table(tmp_path / "numbers.tsv", {"1.0": range(30), "2.5": range(30)})
    with pytest.raises(UserError, match="has numbers for a header: the first line of a table names its columns"):
        propose(numbers)
    words = table(tmp_path / "words.csv", {"text": ["a"] * 30, "more": ["b"] * 30})
    with pytest.raises(UserError, match="no column of numbers among text, more"):
        propose(words)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"empty\.csv: is empty"):
        propose(tmp_path / "empty.csv")
    for index, columns in enumerate([{"a": range(30)}, {"b": range(30)}]):
        table(tmp_path / "differ" / f"{index}.csv", columns)
    with pytest.raises(UserError, match=r"0\.csv and 1\.csv differ in their columns \(a; b\)"):
        propose(tmp_path / "differ")


@pytest.mark.parametrize("column", ["bytes", "struct", "paths"])
def test_parquet_of_images(tmp_path, column):
    root, images = tmp_path / "pq", [encoded(i) for i in range(30)]
    write_tree(root, {f"{i}.bin.png" if column == "paths" else f".{i}": data for i, data in enumerate(images)})
    held = {"bytes": images, "struct": [{"bytes": data, "path": "x.png"} for data in images],
            "paths": [f"{i}.bin.png" for i in range(30)]}[column]  # fmt: skip
    parquet(root / "all.parquet", {"id": list(range(30)), "picture": held, "label": [i % 3 for i in range(30)]})
    tree, lines, num = proposed(root / "all.parquet")
    assert tree["source"] == {
        "name": "parquet", "path": str(root / "all.parquet"), "image": "picture", "label": "label"
    }  # fmt: skip
    assert num == 30 and lines[1] == "assumed:    column 'picture' holds the images, column 'label' holds the labels"


def test_parquet_files_named_after_their_splits(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        parquet(tmp_path / "data" / f"{name}.parquet", {"image": [encoded(i) for i in range(20)]})
    tree, lines, num = proposed(tmp_path / "data")
    assert tree["source"]["path"] == str(tmp_path / "data" / "train*.parquet") and num == 60
    assert "about 40 samples" in lines[-1] and "40 images in 2 Parquet files" in lines[0]


@pytest.mark.parametrize("kind", ["flat", "channel_time", "time_channel", "safetensors"])
def test_parquet_of_series(tmp_path, kind):
    channels = 1 if kind == "flat" else 3
    values = waves(30, 50, channels)
    held = {
        "flat": [v[:, 0].tolist() for v in values],
        "channel_time": [v.T.tolist() for v in values],
        "time_channel": [v.tolist() for v in values],
        "safetensors": stored_series(30, 50, 3),
    }[kind]
    tree, lines, num = proposed(parquet(tmp_path / "s.parquet", {"signal": held, "label": ["a", "b"] * 15}))
    assert tree["source"]["name"] == "series_parquet" and tree["source"]["series"] == "signal" and num == 30
    assert tree["source"].get("order") == ("time_channel" if kind == "time_channel" else None)
    assert tree["views"]["eval"] | {"length": 32, "channels": channels} == tree["views"]["eval"]
    assert f"30 time series of about 50 rows, {channels} channel" in lines[0]


def test_parquet_of_something_else(tmp_path):
    with pytest.raises(UserError, match=r"no column holds images, their paths, time series or texts \(text: string\)"):
        propose(parquet(tmp_path / "t.parquet", {"text": ["a"] * 30}))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"bad\.parquet: not a Parquet file"):
        propose(tmp_path / "bad.parquet")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no files; give a folder of images, of time series, of texts or of recordings"),
        ({"a.mp4": b"a", "b.mp4": b"b"}, "is video, for which there is no source yet; it holds 2 .mp4"),
        ({"a.txt": b"a", "b.txt": b"b"}, "2 texts: 2 to train on are too few; bring at least 16"),
        ({"a.wav": b"a"}, "none of the 1 recordings looked at can be read"),
        ({"a.png": b"a", "b.png": b"", "c.wav": b""}, "holds several kinds of data; it holds 2 .png, 1 .wav; give one"),
        ({"a.png": b"a", "b.parquet": b""}, "holds several kinds of data; it holds 1 .png, 1 .parquet"),
        ({"a.png": b"", "1.csv": b"", "2.csv": b""}, "holds several kinds of data; it holds 2 .csv, 1 .png"),
        ({"README.md": b"#", "x.yaml": b""}, "holds no data that are recognized; it holds 1 .md, 1 .yaml; images"),
        ({"a.png": b"nonsense"}, "none of the 1 images looked at can be read"),
        ({"a.png": encoded(1), "b.png": encoded(2)}, "2 images (image_folder): 2 to train on are too few"),
    ],
)  # fmt: skip
def test_what_is_not_recognized_is_one_line(tmp_path, files, words):
    root = write_tree(tmp_path / "data", files)
    root.mkdir(exist_ok=True)
    with pytest.raises(UserError) as caught:
        propose(root)
    assert words.replace(" (image_folder)", "") in str(caught.value) and "\n" not in str(caught.value)
    assert str(root) in str(caught.value)


def test_one_image_is_no_data_set(tmp_path):
    write_tree(tmp_path, {"a.png": encoded(1)})
    with pytest.raises(UserError, match="one image is no data set; 1 images: 1 to train on are too few"):
        propose(tmp_path / "a.png")


def test_a_listing_stops_at_its_limit_and_says_so(tmp_path):
    pictures(tmp_path / "x", 40)
    some = listing(tmp_path / "x", limit=30)
    assert not some.complete and 0 < len(some.names) <= 31
    assert listing(tmp_path / "x", limit=42).complete  # two folders are entries, too
    assert not listing(tmp_path / "x", limit=41).complete
    assert spread(range(100), 4) == [0, 25, 50, 75] and spread([1, 2], 4) == [1, 2]


def test_more_samples_than_are_listed(tmp_path, monkeypatch):
    pictures(tmp_path / "x", 40)
    monkeypatch.setattr("pipelines.data.recognize.listing.listing.__defaults__", (30,))
    made = propose(tmp_path / "x")
    assert "more than" in made.lines[0] and set(made.tree["train"]) == {"steps", "global_batch_size"}
    assert checked(made.tree).train.steps >= 300


def test_links_and_pipes_are_not_followed(tmp_path):
    root = pictures(tmp_path / "x", 20)
    os.mkfifo(root / "pipe.png")
    (root / "loop").symlink_to(root)
    assert len(listing(root).names) == 20
    assert "20 images" in propose(root).lines[0]


@pytest.mark.parametrize(
    ("path", "name"),
    [("my pets/raw/images", "my-pets"), ("a/train", "a"), ("Zürich 2024!", "Z-rich-2024"), ("x" * 200, "x" * 80)],
)
def test_a_name_from_a_path(tmp_path, path, name):
    assert name_of(tmp_path / path) == name


def test_what_is_data_and_what_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "digits", 2)
    (tmp_path / "mine.yaml").write_text("name: x")
    (tmp_path / "a.csv").write_text("x\n1\n")
    assert [is_data(given) for given in ("digits", "./digits", "mine.yaml", "a.csv", "nowhere", "b.csv")] == [
        False, True, False, True, False, False,
    ]  # fmt: skip
