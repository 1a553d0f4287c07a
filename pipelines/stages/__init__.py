"""Ray lives here. It reads its settings when it is imported, so they are made before any stage is."""

import os
import tempfile
import warnings
from pathlib import Path

from pipelines import private


def _settings() -> None:
    """Quiet, closed to others, and quick to notice a dead worker; what the user has set stays."""
    state = private.folder(Path(tempfile.gettempdir()) / f"selfray-{os.getuid()}")
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(private.token(state / "ray-token"))
    for name, value in {
        "RAY_AUTH_MODE": "token",
        "RAY_TMPDIR": str(state),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"ray\..*")


_settings()
