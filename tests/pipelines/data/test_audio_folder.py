"""A folder of recordings: labels, groups, hold-outs, what is left out; and that it is recognized."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.data.recognize.recipe import propose
from pipelines.data.sources.audio_folder import AudioFolder
from pipelines.data.sources.base import Raw
from pipelines.errors import UserError
from ssl_core.codecs.audio import Audio
from ssl_core.spec import MEL_AXES, ViewSpec

SOUNDS = Audio(Audio.Config(rate=8000)).drawn(ViewSpec(MEL_AXES, (1, 8, 16)), 20)


def digits(folder: Path) -> Path:
    for i, data in enumerate(SOUNDS):
        (folder / f"{i % 2}_{('ann', 'bob', 'cy')[i % 3]}_{i}.flac").write_bytes(data)
    return folder


def read(**config: Any) -> tuple[dict[str | None, list[Raw]], AudioFolder]:
    source = AudioFolder(AudioFolder.Config(**config))
    found: dict[str | None, list[Raw]] = {}
    for part in source.parts(1):
        found.setdefault(part.split, []).extend(source.read(part))
    return found, source


def test_labels_and_groups_come_from_the_file_names(tmp_path: Path) -> None:
    found, _ = read(path=digits(tmp_path), labels=r"^(\d)_", group="_([a-z]+)_")
    assert found.keys() == {None}
    assert {(raw.label, raw.group) for raw in found[None]} == {(d, s) for d in "01" for s in ("ann", "bob", "cy")}
    assert all(raw.data in SOUNDS for raw in found[None])


def test_the_named_groups_are_the_test_split(tmp_path: Path) -> None:
    found, _ = read(path=digits(tmp_path), group="_([a-z]+)_", test_groups=["bob"])
    assert {raw.group for raw in found["test"]} == {"bob"} and {raw.group for raw in found["train"]} == {"ann", "cy"}
    assert len(found["train"]) + len(found["test"]) == 20


def test_a_file_without_a_group_is_a_bad_sample(tmp_path: Path) -> None:
    (digits(tmp_path) / "nobody.wav").write_bytes(SOUNDS[0])
    found, _ = read(path=tmp_path, group="_([a-z]+)_", test_groups=["bob"])
    assert [raw.error for raw in found["train"] if raw.error] == [
        "source.group: '_([a-z]+)_' finds no group in this path"
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"test_groups": ["bob"]}, "source.test_groups: needs source.group"),
        ({"group": "_([a-z]+)_", "test_groups": ["eve"]}, "no recording is of 'eve'; there are ann, bob, cy"),
    ],
)
def test_hold_outs_that_make_no_sense_are_refused(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read(path=digits(tmp_path), **config)


@pytest.mark.parametrize(("pattern", "said"), [("(", "no regular expression"), ("abc", "has 0 groups")])
def test_patterns_that_find_nothing_are_refused(pattern: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=said):
        AudioFolder.Config(path=tmp_path, group=pattern)


def test_class_folders_are_labels_and_other_files_are_counted(tmp_path: Path) -> None:
    for i, data in enumerate(SOUNDS):
        path = tmp_path / ("cat", "dog")[i % 2] / f"{i}.WAV"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "cat" / "notes.txt").write_text("hm")
    (tmp_path / "cat" / "voice.m4a").write_bytes(b"x")
    found, source = read(path=tmp_path)
    assert {raw.label for raw in found[None] if raw.data} == {"cat", "dog"}
    assert source.remarks == ("1 files of other kinds left out (.txt)",)
    assert [(raw.file.rpartition("/")[2], raw.other) for raw in found[None] if raw.error] == [
        ("notes.txt", True),
        ("voice.m4a", False),
    ]


def test_a_folder_of_recordings_is_recognized(tmp_path: Path) -> None:
    found = propose(digits(tmp_path))
    assert "recognized: 20 recordings (audio_folder)" in found.lines
    assert found.tree["views"]["eval"]["rate"] == found.tree["ingest"]["codecs"]["audio"]["rate"] == 8000
    assert found.tree["source"] == {"name": "audio_folder", "path": str(tmp_path)}


def test_recordings_beside_images_are_refused_with_their_numbers(tmp_path: Path) -> None:
    (digits(tmp_path) / "cover.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"several kinds of data; it holds 20 \.flac, 1 \.png"):
        propose(tmp_path)


def test_a_linked_folder_is_followed_or_refused_and_never_passed_over(tmp_path: Path) -> None:
    there, outside = tmp_path / "there", tmp_path / "outside"
    there.mkdir()
    outside.mkdir()
    digits(there)
    (outside / "1.flac").write_bytes(SOUNDS[0])
    (there / "more.flac").symlink_to(outside)  # a folder, whatever its name
    found, _ = read(path=there, labels="none", follow_links=True)
    assert len(found[None]) == 21 and not [raw for raw in found[None] if raw.error]
    found, _ = read(path=there, labels="none")
    (refused,) = [raw for raw in found[None] if raw.error]
    assert len(found[None]) == 21 and refused.file == "there/more.flac" and "leads outside" in str(refused.error)
