"""Selfray: from unlabeled data to a reviewed encoder, on Ray and MLflow."""

import os
import tempfile
import warnings
from pathlib import Path

STATE = Path(tempfile.gettempdir()) / f"selfray-{os.getuid()}"
"""What this user's local Rays keep: temp folders, the token. Made by pipelines/runtime."""
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in a job of a cluster, which has a token of its own."""


def _ray_settings() -> None:
    """Quiet, closed to others, and quick to notice a dead worker; what the user has set stays.

    Ray reads them when it is imported: here they are made before any module of ours can import it.
    """
    closed = (
        {} if SUBMITTED in os.environ else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(STATE / "ray-token")}
    )
    for name, value in {
        **closed,
        "RAY_TMPDIR": str(STATE),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",  # then it tries with as many as there is room for by now
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"ray\..*")


_ray_settings()
