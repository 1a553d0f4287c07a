"""What tests/golden/line.json records is what the code makes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.golden.line import CONFIGS, FILE, libraries, line, machine

GOLDEN = json.loads(FILE.read_text())

pytestmark = pytest.mark.skipif(
    libraries() != GOLDEN["libraries"], reason=f"recorded with {GOLDEN['libraries']}, here are {libraries()}"
)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_station_makes_what_is_recorded(ray_session: None, tmp_path: Path, name: str) -> None:
    recorded, found = GOLDEN["sources"][name], json.loads(json.dumps(line(name, tmp_path)))
    assert found["exact"] == recorded["exact"]
    (floats, others), (known_floats, known_others) = leaves(found["close"]), leaves(recorded["close"])
    assert floats == pytest.approx(known_floats, rel=1e-5, abs=1e-7)
    assert others == known_others
    if machine() == GOLDEN["machine"]:  # on others the same sums are rounded otherwise
        assert found["bits"] == recorded["bits"]


def test_nothing_recorded_is_gone() -> None:
    assert set(GOLDEN["sources"]) == set(CONFIGS)


def leaves(tree: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Path of a leaf -> its value: floats, and all others."""
    found = dict(_walk(tree, ""))
    floats = {path: leaf for path, leaf in found.items() if isinstance(leaf, float)}
    return floats, {path: leaf for path, leaf in found.items() if path not in floats}


def _walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict | list):
        yield path, node
        return
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _walk(child, f"{path}/{key}")
