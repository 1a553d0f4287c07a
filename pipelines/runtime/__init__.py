"""Ray lives here. It reads its settings when it is imported, so they are made before any stage is."""

import os
import tempfile
import warnings
from pathlib import Path

from pipelines.storage import permissions

STATE = Path(tempfile.gettempdir()) / f"selfray-{os.getuid()}"
"""What this user's local Rays keep: temp folders, the token."""
JOIN_AT = "SELFRAY_RAY_ADDRESS"
"""Variable in which the nodes of `selfray cluster` tell jobs where to join; Ray's own names no loopback address."""


def _settings() -> None:
    """Quiet, closed to others, and quick to notice a dead worker; what the user has set stays."""
    permissions.folder(STATE)
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # the cluster has a token of its own
    if not submitted and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(permissions.token(STATE / "ray-token"))
    for name, value in {
        **({} if submitted else {"RAY_AUTH_MODE": "token"}),
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


_settings()
