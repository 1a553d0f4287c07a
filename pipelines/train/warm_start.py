"""What a training begins with where its weights are not drawn: fine-tuning."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.model import loader
from ssl_core.methods.base import Method
from ssl_core.optimize.layer_decay import lr_scales


@dataclass(frozen=True)
class WarmStart:
    """Beside the config, because neither weights nor layer decay are keys of a pre-training."""

    weights: str | None = None
    """Folder of a checkpoint or packed model whose encoder to start from; None: drawn."""
    layer_decay: float = 1.0
    """See ssl_core/optimize/layer_decay.py."""

    def load_(self, method: Method) -> None:
        """Give the method's encoder these weights.

        Raises:
            UserError: they are damaged, or of another encoder.
        """
        if self.weights is None:
            return
        try:
            method.encoder.load_state_dict(loader.encoder_weights(Path(self.weights)))
        except RuntimeError as error:
            raise UserError(f"{self.weights}: not weights of this encoder: {str(error).splitlines()[0]}") from None

    def lr_scales(self, method: Method) -> dict[str, float]:
        return lr_scales(method, self.layer_decay)
