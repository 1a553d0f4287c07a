"""Names come from outside: what a terminal or a picture would take for a command is shown as an escape."""

import os
from pathlib import Path

import pytest

from pipelines import __main__ as command_line
from pipelines.data.sources.base import Raw
from pipelines.evaluate.report.text import markdown
from pipelines.evaluate.scoring.scores import ClassScores, LeakPair, Leaks, Scores
from pipelines.storage.printable import printable, printable_lines
from pipelines.tracking import display
from tests.support.images import encoded, write_tree
from tests.support.reading import made, refusal, samples

EVIL = "\x1b]0;pwned\a\x1b[2J\x1b[31mEVIL\nselfray: all is well"
SAFE = r"\x1b]0;pwned\x07\x1b[2J\x1b[31mEVIL\nselfray: all is well"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (EVIL, SAFE),
        ("tab\tand\r\x7f\x9b0m\x00", r"tab\tand\r\x7f\x9b0m\x00"),
        ("two\u2028lines\u2029", r"two\u2028lines\u2029"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\udce9.png"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown


@pytest.mark.parametrize(
    "name",
    [
        "photos/a b.jpg",
        "-rf",
        r"a\b",
        "caf\u00e9",
        "\u732b",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "$HOME",
        "<b>",
    ],
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert printable(name) == name


def test_a_message_keeps_its_lines_and_nothing_else() -> None:
    assert printable_lines("one\n  two\x1b[2J") == "one\n  two\\x1b[2J"


def test_no_sample_bears_a_raw_name(tmp_path: Path) -> None:
    raw = Raw(EVIL, 1, label=EVIL, error=EVIL)
    assert (raw.file, raw.label, raw.error, raw.origin) == (SAFE, SAFE, SAFE, f"{SAFE}#1")
    write_tree(tmp_path / "in", {f"{EVIL}/1.png": encoded(1), "b/2.png": encoded(2), f"b/x.{EVIL}": b""})
    found = {raw.file: raw for raw in samples(made("image_folder", path=tmp_path / "in"))}
    assert found[f"in/{SAFE}/1.png"].label == SAFE and found[f"in/{SAFE}/1.png"].data == encoded(1)
    assert found[f"in/b/x.{SAFE}"].error == f"not an image (.{SAFE})"


def test_refusals_of_a_source_stay_one_line(tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{EVIL}.txt": b"x"})
    assert SAFE in refusal("image_folder", path=tmp_path)


def test_the_terminal_gets_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    display.say(f"shards of {EVIL}")
    command_line._fail(f"{EVIL}: cannot be read", debug=False)
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "\a" not in said.out + said.err
    assert r"\x1b[2J" in said.out and r"\x1b[2J" in said.err


def test_a_report_shows_names_of_older_data_escaped() -> None:
    pair = LeakPair(train=3, test=7, kind="phash", distance=4, train_origin=EVIL, test_origin="t.png")
    leaks = Leaks(num_exact=1, num_near=2, num_checked=200, rate=0.015, pairs=(pair,))
    classes = (ClassScores(name=EVIL, support=2, precision=0.5, recall=0.5, f1=1),)
    text = markdown(Scores(encoder={"a": 0.5}, leaks=leaks, per_class=classes, predicted_by="a"))
    assert text.count(SAFE) == 2 and "\x1b" not in text
