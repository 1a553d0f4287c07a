"""Folders and files that only their owner may read, also under a shared /tmp where others got there first."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pipelines.errors import UserError


def folder(path: Path) -> Path:
    """Make a folder of 0700, or check one that is there.

    Raises:
        UserError: it belongs to somebody else, or is a link.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UserError(f"{path}: not a folder of yours, so it is not safe; remove it, or set TMPDIR to another place")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    return path


def token(path: Path) -> Path:
    """Make a file of 0600 with a random token in it, or check one that is there; two makers agree on one.

    Raises:
        UserError: it belongs to somebody else, is no plain file, or others may read it.
    """
    if not os.path.lexists(path):
        aside = path.with_name(f".{path.name}.{uuid4().hex}")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
            with suppress(FileExistsError):  # whole or not there, and only the first of two makers succeeds
                path.hardlink_to(aside)
        finally:
            aside.unlink()
    return checked(path)


def checked(path: Path) -> Path:
    """A secret file, unless others may read it.

    Raises:
        UserError: it is missing, empty, no plain file, or one of yours that others may read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path}: the token cannot be read ({error.strerror}); set RAY_AUTH_TOKEN_PATH") from None
    mine = found.st_uid == os.getuid()  # one that Kubernetes mounts belongs to root, and to nobody else in the pod
    if not stat.S_ISREG(found.st_mode) or not (mine or found.st_uid == 0):
        raise UserError(f"{path}: not a plain file of yours, so the token in it is not safe; remove it and run again")
    if not found.st_size:
        raise UserError(f"{path}: holds no token; remove it and run again")
    if mine and stat.S_IMODE(found.st_mode) & 0o077:
        raise UserError(f"{path}: others may read the token; chmod 600 {path}, and change it if it was seen")
    return path


def named() -> None:
    """A token that is asked for but not there is no token that a cluster refuses.

    Raises:
        UserError: RAY_AUTH_TOKEN_PATH names no file.
    """
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not path or "RAY_AUTH_TOKEN" in os.environ or os.environ.get("RAY_AUTH_MODE") != "token":
        return
    if not Path(path).expanduser().is_file():
        raise UserError(f"RAY_AUTH_TOKEN_PATH: {path}: no such file; give the file with the cluster's token")


def closed() -> None:
    """Whoever may talk to a Ray may run code in it: refuse to start one without a token that is a secret.

    Raises:
        UserError: others could use it.
    """
    if (mode := os.environ.get("RAY_AUTH_MODE")) != "token":
        raise UserError(f"RAY_AUTH_MODE: {mode}: other users and machines could run code as you; unset it")
    if "RAY_AUTH_TOKEN" not in os.environ:
        checked(Path(os.environ["RAY_AUTH_TOKEN_PATH"]))
