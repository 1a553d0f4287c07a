"""YAML as plain values: no tags that build objects, no text that unfolds into gigabytes."""

from typing import Any

import yaml

MAX_CHARACTERS = 1 << 20
MAX_VALUES = 100_000
"""After aliases are written out: nine aliases of nine aliases of ... (a billion laughs) come to more."""


class NotPlain(ValueError):
    """Why a text is not YAML that we read, in one line."""


def load(text: str) -> Any:
    """
    Raises:
        NotPlain: not valid YAML, or one of its tricks.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotPlain(f"{len(text)} characters, more than {MAX_CHARACTERS}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _size(root, {})
        return yaml.safe_load(text)
    except RecursionError:
        raise NotPlain("nested too deeply") from None
    except NotPlain:
        raise
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise NotPlain(f"not valid YAML: {' '.join(said.split())}{line}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise NotPlain(f"not valid YAML: {' '.join(str(error).split())}") from None


def _no_key_twice(node: yaml.MappingNode) -> None:
    """YAML forbids it; PyYAML takes the last one without a word."""
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                raise NotPlain(f"line {key.start_mark.line + 1}: key `{key.value}` twice; keep one of them")
            seen.add((key.tag, key.value))


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values in a node with every alias written out."""
    if id(node) in known:
        if not known[id(node)]:
            raise NotPlain("an alias refers to what it is part of")
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_size(child, known) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        _no_key_twice(node)
        total += sum(_size(child, known) for pair in node.value for child in pair)
    if total > MAX_VALUES:
        raise NotPlain(f"its aliases unfold into more than {MAX_VALUES} values")
    known[id(node)] = total
    return total
