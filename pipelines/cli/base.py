"""What verbs are made of: a parser each, the recipe argument and `--set`."""

import argparse
from collections.abc import Callable
from typing import Any

from pipelines.config import plain_yaml

Verb = Callable[[argparse.Namespace], int]
"""Parsed arguments -> exit status."""


class Verbs:
    """The command line while its verbs are being added."""

    def __init__(self, parser: argparse.ArgumentParser):
        self._parsers = parser.add_subparsers(title="verbs", required=True, dest="name", metavar="VERB")

    def add(self, name: str, text: str, verb: Verb) -> argparse.ArgumentParser:
        """One more verb; its own arguments are added to what comes back."""
        parser = self._parsers.add_parser(name, help=text, description=text)
        parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        parser.set_defaults(verb=verb)
        return parser

    def add_for_recipe(
        self, name: str, text: str, verb: Verb, default: str | None = None, *, takes_data: bool = False
    ) -> argparse.ArgumentParser:
        """A verb whose first argument is a recipe, with `--set`.

        Args:
            default: the recipe where none is given; None: it must be given.
            takes_data: a path of plain data does as well (pipelines/cli/plain.py).
        """
        parser = self.add(name, text, verb)
        recipe = "YAML file, or the name of a shipped recipe"
        recipe += "; or a folder or file of images or time series" if takes_data else ""
        parser.add_argument("recipe", nargs="?" if default else None, default=default, help=recipe)
        parser.add_argument("--set", action=_Set, default={}, metavar="A.B=VALUE", help="change one key of the recipe")
        return parser


class _Set(argparse.Action):
    """Collects `--set a.b=value`; the value is read as YAML."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        key, sign, value = str(values).partition("=")
        if not sign or not key:
            parser.error(f"--set {values}: write it as a.b=value")
        try:
            parsed = plain_yaml.load(value)
        except plain_yaml.NotPlain as error:
            parser.error(f"--set {values}: {error}; close every bracket, and write text with signs as '\"...\"'")
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), key: parsed})
