"""Ray: starting and joining it, what the nodes have, waiting for them. The folder and the token of our own Rays."""

import os

from pipelines import STATE, SUBMITTED
from pipelines.storage import permissions

__all__ = ["JOIN_AT", "STATE"]

JOIN_AT = "SELFRAY_RAY_ADDRESS"
"""Variable in which the nodes of `selfray cluster` tell jobs where to join; Ray's own names no loopback address."""

permissions.folder(STATE)
if SUBMITTED not in os.environ and os.environ.get("RAY_AUTH_TOKEN_PATH") == str(STATE / "ray-token"):
    permissions.token(STATE / "ray-token")
