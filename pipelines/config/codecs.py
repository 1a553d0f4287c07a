"""Which codec decodes each field of a sample, with its limits: asked of the source, and of the chains of the views."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ssl_core.catalog import find
from ssl_core.config import NamedConfig

if TYPE_CHECKING:
    from pipelines.config.run import SetupConfig


def of_source(config: "SetupConfig") -> dict[str, NamedConfig]:
    """Field -> codec of what the source gives."""
    given = find("pipelines.data.sources", config.source.name).fields
    return {field: config.ingest.codec(field, codec) for field, codec in given.items()}


def of_chains(config: "SetupConfig", chains: Iterable[NamedConfig]) -> dict[str, NamedConfig]:
    """Field -> codec of what these chains read."""
    read = [find("ssl_core.augment", chain.name) for chain in chains]
    return {chain.field: config.ingest.codec(chain.field, chain.codec) for chain in read}


def of_view(config: "SetupConfig", view: NamedConfig) -> NamedConfig:
    """The codec whose values a chain reads."""
    (codec,) = of_chains(config, [view]).values()
    return codec


def check(config: "SetupConfig") -> None:
    """Whether the views read what the source gives.

    Raises:
        ValueError: a chain reads another field, or the same in another form.
    """
    given = find("pipelines.data.sources", config.source.name).fields
    for kind, view in config.views.items():
        chain = find("ssl_core.augment", view.name)
        if given.get(chain.field) != chain.codec:
            has = ", ".join(f"{field} ({codec})" for field, codec in given.items())
            raise ValueError(
                f"views.{kind}: {view.name} reads the field {chain.field} ({chain.codec}); source {config.source.name} "
                f"gives {has}; take a chain for that, or another source"
            )
        codec = config.ingest.codec(chain.field, chain.codec)
        stored, read = (getattr(each, "rate", None) for each in (codec, view))
        if stored != read:
            raise ValueError(
                f"views.{kind}.rate: {read} differs from the {stored} samples per second that are stored; set it, or "
                f"ingest.codecs.{chain.field}.rate"
            )
        asked = max(chain(view).spec.shape[1:]) if chain.codec == "image" else 0
        if config.ingest.resize_shorter is not None and asked > config.ingest.resize_shorter:
            raise ValueError(
                f"views.{kind}: asks for {asked} px of images that ingest.resize_shorter "
                f"{config.ingest.resize_shorter} stores smaller; raise it, or take smaller views"
            )
    of_source(config)
