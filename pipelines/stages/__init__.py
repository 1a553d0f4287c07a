"""Ray lives here. It reads its settings when it is imported, so they are made before any stage is."""

import os
import secrets
import tempfile
import warnings
from pathlib import Path

STATE = Path(tempfile.gettempdir()) / f"selfray-{os.getuid()}"
"""What this user's local Rays keep: temp folders, the token."""
JOIN_AT = "SELFRAY_RAY_ADDRESS"
"""Variable in which the nodes of `selfray cluster` tell jobs where to join; Ray's own names no loopback address."""


def _settings() -> None:
    """Quiet, closed to others, and quick to notice a dead worker; what the user has set stays."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    token = STATE / "ray-token"
    if not token.exists():
        handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # the cluster has a token of its own
    closed = {} if submitted else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    for name, value in {
        **closed,
        "RAY_TMPDIR": str(STATE),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"ray\..*")


_settings()
