"""Sound: a folder of recordings."""

from statistics import median

from pipelines.data.recognize.found import Recordings, count
from pipelines.data.recognize.images import HELD_OUT
from pipelines.data.recognize.kinds import kind_of_suffix, no_source, suffix_of
from pipelines.data.recognize.listing import Listing, spread
from pipelines.data.sources import _layout
from pipelines.data.sources._files import read_inside
from pipelines.data.sources.audio_folder import EXTENSIONS
from ssl_core.codecs._audio import reading
from ssl_core.codecs.base import DecodeError


def folder(listed: Listing) -> Recordings:
    """All recordings below a folder.

    Raises:
        UserError: none of those that were looked at can be read.
    """
    root = listed.root
    names = [name for name in listed.names if suffix_of(name) in EXTENSIONS]
    unread = sum(kind_of_suffix(suffix_of(name)) == "sound" for name in listed.names) - len(names)
    if not names:
        raise no_source(root, f"its {unread} recordings are of formats that are not read ({' '.join(EXTENSIONS)} are)")
    splits = _layout.split_folders(root, frozenset(EXTENSIONS))
    inside = {name.partition("/")[0] for name in names if "/" in name}
    num_train = round((1 - HELD_OUT) * len(names))
    what = f"{count(len(names), listed.complete)} recordings"
    if splits:
        num_train = sum(name.startswith(f"{splits['train'].name}/") for name in names)
        what += f" in {splits['train'].name}/ and {splits['test'].name}/"
    elif len(inside) > 1 and all("/" in name for name in names) and not _layout.look_like_splits(inside):
        what += f" in {count(len(inside), listed.complete)} class folders ({_layout.first(sorted(inside))})"
    seconds, rates = list[float](), list[int]()
    for name in spread(names):
        data = read_inside(root, name)
        try:
            said = reading.header(data) if isinstance(data, bytes) else None
        except DecodeError:
            continue
        if said and said.frames:
            seconds.append(said.frames / said.rate)
            rates.append(said.rate)
    if not rates:
        raise no_source(root, f"none of the {len(spread(names))} recordings looked at can be read")
    assumed = (f"{unread} recordings of formats that are not read count as bad samples",) if unread else ()
    source = {"name": "audio_folder", "path": str(root)}
    number = num_train if listed.complete else None
    return Recordings(source, what, number, assumed, seconds=median(seconds), rate=round(median(rates)))
