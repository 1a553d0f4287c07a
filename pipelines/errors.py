"""Errors that are the user's to fix: one clear line, no traceback."""


class UserError(Exception):
    """Says which dotted key, file or row is wrong and what to do about it."""


class Diverged(UserError):
    """The loss is not finite: the same config comes to the same again, so a rerun cures nothing."""


class Interrupted(Exception):
    """Ctrl-C: everything so far is kept, and the same command goes on from there."""
