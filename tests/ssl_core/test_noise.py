import subprocess
import sys

import numpy as np
import torch

from ssl_core.noise import keyed_bits, keyed_normal, keyed_permutation, keyed_uniform, salt


def test_uniform_is_uniform_and_uncorrelated() -> None:
    u = keyed_uniform(np.arange(4096), 64, salt(3))
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 1 / 2) < 3e-3 and abs(u.var() - 1 / 12) < 1e-3
    between_columns = np.corrcoef(u.T[:16]) - np.eye(16)
    between_samples = np.corrcoef(u[:16]) - np.eye(16)
    assert abs(between_columns).max() < 0.08 and abs(between_samples).max() < 0.5
    salts = np.stack([keyed_uniform(np.arange(4096), 1, salt(s))[:, 0] for s in range(8)])
    assert abs(np.corrcoef(salts) - np.eye(8)).max() < 0.08


def test_a_draw_depends_on_sample_column_and_salt_only() -> None:
    u = keyed_uniform(np.arange(100), 8, salt(3))
    assert np.array_equal(u[7:9], keyed_uniform(np.array([7, 8]), 8, salt(3)))
    assert np.array_equal(u[:, :4], keyed_uniform(np.arange(100), 4, salt(3)))
    assert not np.array_equal(u, keyed_uniform(np.arange(100), 8, salt(4)))


def test_numpy_and_torch_agree_bit_for_bit() -> None:
    ids, columns = np.array([0, 1, -5, 2**62], np.int64), np.arange(6, dtype=np.int64)
    bits = keyed_bits(torch.from_numpy(ids), torch.from_numpy(columns), salt(1, 2))
    assert np.array_equal(bits.numpy(), keyed_bits(ids, columns, salt(1, 2)))


def test_known_bits_never_change() -> None:
    """Stored runs depend on these numbers: a change of the hash would change every view and mask."""
    assert salt(1, 2, 3) == 1313259664705058413
    assert keyed_bits(np.array([42]), np.arange(2), salt(0)).tolist() == [[-7316418733086152830, -2166971455584692539]]


def test_salt_folds_every_part_in_order() -> None:
    salts = [salt(), salt(0), salt(1), salt(0, 1), salt(1, 0), salt(0, 0), salt(-1), salt(2**63)]
    assert len(set(salts)) == len(salts) and all(0 <= s < 2**63 for s in salts)


def test_normal_is_normal_and_keyed() -> None:
    z = keyed_normal(torch.arange(4096), 33, salt(5))
    assert z.shape == (4096, 33) and z.dtype == torch.float32 and z.isfinite().all()
    assert abs(z.mean()) < 0.01 and abs(z.var() - 1) < 0.02
    assert abs((z**4).mean() - 3) < 0.1 and abs((z > 1.96).float().mean() - 0.025) < 0.003
    assert (torch.corrcoef(z.T) - torch.eye(33)).abs().max() < 0.08
    torch.testing.assert_close(keyed_normal(torch.tensor([9, 3]), 33, salt(5)), z[[9, 3]])


def test_permutation_is_one() -> None:
    order = keyed_permutation(1000, salt(1))
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, keyed_permutation(1000, salt(2)))


def test_ray_data_tasks_do_not_pay_for_torch() -> None:
    script = "import sys, ssl_core.noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
