"""What listens, listens on loopback, unless the user says otherwise and is told what that means."""

import ipaddress

from pipelines.errors import UserError

LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name: it may lead anywhere
        return False


def consent(host: str, port: int, given: bool, can: str) -> str | None:
    """What to print before listening on `host`; None on loopback.

    Args:
        given: the user has said `--expose`.
        can: what whoever reaches the port can do there.
    Raises:
        UserError: not loopback, and no consent.
    """
    if is_loopback(host):
        return None
    if not given:
        raise UserError(
            f"--host {host}: whoever reaches port {port} of this machine could {can}; "
            f"use ssh -L {port}:127.0.0.1:{port} instead, or add --expose if that is meant"
        )
    return f"EXPOSED: {host}:{port} is open to the network; whoever reaches it can {can}."
