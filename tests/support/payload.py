"""What a harmful pickle would do."""

from pathlib import Path
from typing import Any


class Payload:
    """Unpickled, it leaves a file: the proof that code ran."""

    def __init__(self, proof: Path):
        self._proof = str(proof)

    def __reduce__(self) -> Any:
        return (open, (self._proof, "w"))
