"""The shared data sets, where a machine has them."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("SELFRAY_DATA", Path(__file__).parents[3] / "shared" / "data"))


def shared(*names: str) -> Path:
    """A file or folder of the shared data; skips the test where it is absent."""
    path = ROOT.joinpath(*names)
    if not path.exists():
        pytest.skip(f"{path} is not there; set SELFRAY_DATA to the folder that holds {names[0]}")
    return path
