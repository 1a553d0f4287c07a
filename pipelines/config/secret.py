"""What must not be written down: `${env:NAME}` in a config is a reference, resolved only where it is used.

A dump, a log line or an MLflow param shows the reference; a login inside a URI is cut out of whatever is shown.
"""

import os
import re

from pipelines.errors import UserError

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
_LOGIN = re.compile(r"(?<=://)[^/?#\s'\"]*@")
_PASSWORD = re.compile(r"(?<=://)[^/?#\s'\"]*:[^/?#\s'\"]*@")
_IN_QUERY = re.compile(
    r"(?i)([?&](?:password|passwd|pwd|token|secret|key|sslpassword|access_key|secret_key)=)[^&#\s'\"]*"
)
_MIN_LENGTH = 8  # a shorter value would be found in harmless text
_resolved: dict[str, str] = {}
"""Value -> reference, of everything that this process has looked up: `shown` takes it out of any text."""


def resolve(text: str, key: str) -> str:
    """Put the values of environment variables in the place of their references.

    Args:
        key: the dotted key that holds the text, for errors.
    Raises:
        UserError: a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], "")
        if not found:
            raise UserError(f"{key}: the environment variable {match[1] or '(no name)'} is not set; export it")
        if len(found) >= _MIN_LENGTH:
            _resolved[found] = match[0]
        return found

    return _REFERENCE.sub(value, text)


def masked(text: str) -> str:
    """A text in which values that were looked up, and passwords in URIs, are replaced and nothing else is changed."""
    for value in sorted(_resolved, key=len, reverse=True):
        text = text.replace(value, _resolved[value])
    return _IN_QUERY.sub(r"\1***", _PASSWORD.sub("***@", text))


def shown(text: str) -> str:
    """`masked`, and without any login in a URI: a token may stand where the user's name does."""
    return _LOGIN.sub("", masked(text))
