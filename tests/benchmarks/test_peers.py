"""Beside the libraries of the extra `peers`: `pytest -m peers`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from ssl_core.losses.contrastive import nt_xent
from tests.benchmarks import peer, record

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_and_its_gradients_are_lightlys(temperature: float) -> None:
    loss = pytest.importorskip("lightly.loss").NTXentLoss(temperature=temperature)
    a, b = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    z_a, z_b = normalize(a, dim=1), normalize(b, dim=1)
    ours, theirs = nt_xent(z_a, z_b, z_a, z_b, first=0, temperature=temperature), loss(a, b)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(*(torch.autograd.grad(x, (a, b), retain_graph=True) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.timeout(600)
def test_both_trainings_run_at_tiny_sizes(tmp_path: Path) -> None:
    pytest.importorskip("lightly")
    file = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.benchmarks", "peer", "--quick", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr
    tables = record.load(file)["peer"]["tables"]
    (rows,) = (rows for heading, rows in tables.items() if heading.startswith("SimCLR"))
    assert {row["contender"] for row in rows} == {peer.PEER, peer.FP32, peer.BF16}
    assert all(row["images per second"][0] > 0 for row in rows)
