"""Decoded pixels on the nodes of a campaign: there is nothing when it begins, and nothing is left when it has ended."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.data.batches.decoded_cache import KEY, DecodedCache, Usage
from pipelines.runtime import nodes
from pipelines.tracking.display import say


@contextmanager
def on_all_nodes(cache: DecodedCache | None) -> Iterator[None]:
    """Empty the cache of what a killed campaign has left, and remove it after the body, saying what it held.

    Raises:
        UserError: a node does not answer, before the body runs; afterwards that is only said.
    """
    if cache is None:
        yield
        return
    nodes.on_all(_remove, cache)
    try:
        yield
    finally:
        try:
            for name, usage in nodes.on_all(_remove, cache).items():
                if usage is not None:
                    say(f"tune: {_line(usage)} on {name}")
        except Exception as error:  # what became of the campaign matters more
            say(f"tune: decoded pixels may be left on a node, in {cache.folder}: {error}")


def _line(usage: Usage) -> str:
    held = f"{usage.used >> 20} MB of decoded pixels, of at most {usage.limit >> 20},"
    rest = f"; the rest did not fit and was decoded each time ({KEY})" if usage.is_full else ""
    return f"trials shared {held}{rest}"


def _remove(node_id: str, cache: DecodedCache) -> Usage | None:
    return cache.remove()
