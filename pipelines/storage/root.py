"""The folder that holds everything a run keeps."""

from pathlib import Path
from typing import Protocol

from pipelines.errors import UserError


class HasStorage(Protocol):
    @property
    def storage(self) -> Path: ...


def storage_root(config: HasStorage) -> Path:
    """The storage folder, made and absolute (Ray workers have another current folder).

    Raises:
        UserError: it cannot be made or written to.
    """
    root = config.storage.expanduser().absolute()
    probe = root / ".writable"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"storage: {root}: cannot write there ({error.strerror}); --set storage=ANOTHER_FOLDER"
        ) from None
    return root
