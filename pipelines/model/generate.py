"""Text that a registered language model writes."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import UserError
from pipelines.model import loader
from ssl_core.encoders.base import TokenEncoder
from ssl_core.generate import Sampling, generate


def text_from(packed: Path, prompt: str, sampling: Sampling) -> Iterator[str]:
    """What follows the prompt, piece by piece as it is made; the prompt itself is not repeated.

    Raises:
        UserError: the model does not generate text, or the prompt does not fit.
    """
    encoder, chain = loader.load_encoder(packed), loader.load_chain(packed)
    if not isinstance(encoder, TokenEncoder) or not encoder.causal:
        raise UserError(f"{packed.name}: generates no text; that takes a causal encoder of text, trained by gpt")
    tokenizer = chain.tokenizer  # type: ignore[attr-defined]  # of chains of text
    (ids,) = tokenizer.encode([prompt])
    made, given = list[int](), ""
    try:
        for (token,) in generate(encoder, [ids], sampling):
            if token is None:
                return
            made.append(token)
            text = tokenizer.decode(made)
            if text.endswith("\N{REPLACEMENT CHARACTER}") and len(made) < sampling.length:
                continue  # the first bytes of a character
            yield text[len(given) :]
            given = text
    except ValueError as error:
        raise UserError(f"--prompt: {error}") from None
