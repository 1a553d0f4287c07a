"""Fixtures that are dear, so that one is shared by all tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(tempfile.mkdtemp(prefix="sr-", dir="/tmp"))  # short: Ray puts sockets below it
TOKEN = FOLDER / "token"
TOKEN.touch(0o600)
TOKEN.write_text("a" * 64)

# Set before any test module imports Ray, which reads some of them only then.
os.environ.pop("RAY_ADDRESS", None)
os.environ |= {
    "OMP_NUM_THREADS": "1",  # tests share few cores: two threads that wait for each other take many times as long
    "RAY_TMPDIR": str(FOLDER),
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": str(TOKEN),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


def pytest_unconfigure() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray of our own: 4 logical CPUs, its own temp folder and token; about 7 s to start."""
    import ray

    from pipelines.runtime.session import data_context, start_local

    start_local(num_cpus=4, object_store_bytes=256 << 20)
    data_context(cpus=4)
    yield
    ray.shutdown()
