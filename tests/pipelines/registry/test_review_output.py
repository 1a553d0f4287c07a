"""Where `review` may write: into a new folder, or over an earlier review, never over other files."""

import json

import pytest

from pipelines.__main__ import main
from pipelines.errors import UserError
from pipelines.registry.review import files
from tests.support.images import write_tree


@pytest.mark.parametrize("name", [files.HTML, files.JSON, files.CARD])
def test_files_of_the_user_are_refused_before_anything_is_looked_up(tmp_path, capsys, name):
    write_tree(tmp_path / "out", {name: b"[]", "diary.txt": b"private"})
    assert main(["review", "nobody", "--output", str(tmp_path / "out"), "--tracking-uri", "http://127.0.0.1:9"]) == 1
    said = f"--output: {tmp_path / 'out'}: holds '{name}', which review did not write; give another folder"
    assert said in capsys.readouterr().err
    with pytest.raises(UserError, match="which review did not write"):
        files.may_write(tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"[]"


def test_an_earlier_review_and_other_names_are_no_hindrance(tmp_path):
    write_tree(tmp_path, {"diary.txt": b"private"})
    files.may_write(tmp_path)
    review = json.dumps({"verdict": "", "facts": {}, "judged": []}).encode()
    write_tree(tmp_path, {files.JSON: review, files.HTML: b"", files.CARD: b""})
    files.may_write(tmp_path)
