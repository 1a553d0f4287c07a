"""Commit, uncommitted changes and machine, asked of a real git."""

import json
import subprocess

import pytest

from pipelines.tracking import provenance


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "code.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("venv/\n")
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "first")
    return folder


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_clean_checkout(checkout):
    found = provenance.commit(checkout)
    assert found == (git(checkout, "rev-parse", "HEAD").strip(), "trunk", False, "")


def test_uncommitted_changes_are_in_the_patch(checkout):
    (checkout / "code.py").write_text("a = 2\n")
    found = provenance.commit(checkout)
    assert found.dirty and "-a = 1\n+a = 2" in found.patch


def test_a_new_file_makes_it_dirty(checkout):
    (checkout / "new.py").touch()
    assert provenance.commit(checkout).dirty


def test_a_large_patch_is_cut(checkout, monkeypatch):
    monkeypatch.setattr(provenance, "MAX_PATCH_BYTES", 200)
    (checkout / "code.py").write_text("b = 1\n" * 1000)
    patch = provenance.commit(checkout).patch
    assert len(patch) < 300 and "[cut: the patch has" in patch


def test_installed_code_does_not_take_the_commit_of_the_folder_around_it(checkout, tmp_path):
    installed = checkout / "venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "code.py").touch()
    assert provenance.commit(installed) == provenance.commit(tmp_path) == ("", "", False, "")


def test_the_environment_names_versions_and_is_json():
    found = json.loads(json.dumps(provenance.environment()))
    assert found["packages"]["numpy"] and found["cores"] >= 1 and found["memory_gb"] > 0
    assert provenance.user()
