"""Text from outside (names of files and classes, origins) as a terminal, a log or a picture may show it."""

import re

_OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, ESC among them: a terminal obeys them
    "\u2028\u2029"  # line and paragraph separator
    "\u202a-\u202e\u2066-\u2069"  # what turns the direction of the text, so that one name reads as another
    "\ud800-\udfff]"  # bytes of a file name that are not UTF-8
)


def printable(name: str) -> str:
    """A name as one line of valid Unicode: what a terminal would obey, or could not show, becomes backslash escapes.

    Everything else, thus any ordinary name in any script, stays as it is.
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def printable_lines(message: str) -> str:
    """The same for a message of our own of several lines, which stay lines."""
    return "\n".join(map(printable, message.split("\n")))
