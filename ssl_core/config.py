"""The one base class of every config in the project."""

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

LARGEST = 2**63 - 1
"""Of whole numbers: what 64 bits hold in NumPy, torch, Arrow and MLflow alike."""
_NUMBERS = {int, float, types.NoneType, Ellipsis, Literal}


class Config(BaseModel):
    """Frozen, typo-proof settings: an unknown key is an error with a suggestion, and nothing changes after load.

    Unlike in pydantic, `true` is not a number, and whole numbers must fit into 64 bits.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def __repr_name__(self) -> str:
        return type(self).__qualname__  # SimCLR.Config(...) rather than Config(...)

    @model_validator(mode="wrap")
    @classmethod
    def _suggest(cls, value: Any, parse: ModelWrapValidatorHandler[Self]) -> Self:
        """Give every mistake of this level one plain sentence; deeper levels have done so already."""
        try:
            made = parse(_booleans_spelled(cls, value))
        except ValidationError as error:
            found = error.errors(include_url=False)
            details = [
                InitErrorDetails(type=cls._explain(e), loc=e["loc"], input=e["input"])
                for e in found
                if not _follows(e, found)
            ]
            details += _too_large(cls, value if isinstance(value, Mapping) else {})
            raise ValidationError.from_exception_data(error.title, details) from None
        if large := _too_large(cls, vars(made)):
            raise ValidationError.from_exception_data(cls.__qualname__, large)
        return made

    @classmethod
    def _explain(cls, error: Any) -> PydanticCustomError:
        message, given = str(error["msg"]).removeprefix("Value error, "), error["input"]
        match error["type"]:
            case "extra_forbidden":
                close = get_close_matches(str(error["loc"][-1]), list(cls.model_fields), n=1)
                message = (
                    f"unknown key; did you mean '{close[0]}'?"
                    if close
                    else "unknown key; it takes " + ", ".join(cls.model_fields)
                )
            case "missing":
                message = "is missing"
            case "model_type" | "model_attributes_type":
                message = f"takes keys of its own ({', '.join(cls.model_fields)}), not {_shown(given)}"
            case "dict_type":
                message = f"takes keys and values, e.g. {{a: 1}}, not {_shown(given)}"
            case "tuple_type" | "list_type":
                message = f"takes a list, e.g. [a, b], not {_shown(given)}"
            case "path_type":
                message = f"takes a path, not {_shown(given)}"
            case "int_parsing" | "float_parsing" if given in ("true", "false"):
                message = f"takes a number, not {given}"
        return PydanticCustomError("config", "{message}", {"message": message})


class NamedConfig(Config):
    """Settings of a component found by file name; subclasses pin `name` to that file's name."""

    name: str


def _no_url(value: object) -> object:
    if isinstance(value, str) and (scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", value)):
        raise ValueError(f"is a path in the file system, not a URL ({scheme[0]}...); mount it and give the folder")
    return value


LocalPath = Annotated[Path, BeforeValidator(_no_url)]
"""A path of the file system: `s3://bucket` would be a folder named `s3:` in the current one."""


def _follows(error: Any, others: list[Any]) -> bool:
    """Whether it only says that another mistake was made: a default that reads other keys, a list of wrong values."""
    loc, kind = error["loc"], error["type"]
    below = any(len(o["loc"]) > len(loc) and o["loc"][: len(loc)] == loc for o in others)
    return kind == "default_factory_not_called" or (kind == "too_short" and below)


@cache
def _number_keys(config: type[Config]) -> frozenset[str]:
    """The keys that take numbers alone, one or several."""
    taken = {key: set(_leaves(field.annotation)) for key, field in config.model_fields.items()}
    return frozenset(key for key, kinds in taken.items() if kinds & {int, float} and kinds <= _NUMBERS)


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types of the values that an annotation holds: tuple[int, ...] | None -> int, Ellipsis, NoneType."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal or not arguments:
        yield Literal if origin is Literal else annotation
        return
    inner = arguments[:1] if origin is Annotated else arguments[1:] if origin in (dict, Mapping) else arguments
    for argument in inner:
        yield from _leaves(argument)


def _booleans_spelled(config: type[Config], value: Any) -> Any:
    """The given keys with `true` as the text "true" where a number is wanted: pydantic would take it for 1."""
    if not isinstance(value, Mapping):
        return value
    return {key: _spelled(given) if key in _number_keys(config) else given for key, given in value.items()}


def _spelled(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return [_spelled(each) for each in value]
    return {key: _spelled(each) for key, each in value.items()} if isinstance(value, dict) else value


def _too_large(config: type[Config], values: Mapping[str, Any]) -> list[InitErrorDetails]:
    kind, given = PydanticCustomError("config", "takes numbers below 2^63"), _number_keys(config) & values.keys()
    large = [key for key in sorted(given) if any(abs(number) > LARGEST for number in _whole(values[key]))]
    return [InitErrorDetails(type=kind, loc=(key,), input=values[key]) for key in large]


def _whole(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping):
        yield from (number for each in value.values() for number in _whole(each))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from (number for each in value for number in _whole(each))


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value) if isinstance(value, str | int | float) else type(value).__name__
