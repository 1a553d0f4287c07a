"""The one base class of every config in the project."""

from difflib import get_close_matches
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Config(BaseModel):
    """Frozen, typo-proof settings: an unknown key is an error with a suggestion, and nothing changes after load."""

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
            return parse(value)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title,
                [
                    InitErrorDetails(type=cls._explain(e), loc=e["loc"], input=e["input"])
                    for e in error.errors(include_url=False)
                ],
            ) from None

    @classmethod
    def _explain(cls, error: Any) -> PydanticCustomError:
        message = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            close = get_close_matches(str(error["loc"][-1]), list(cls.model_fields), n=1)
            message = (
                f"unknown key; did you mean '{close[0]}'?"
                if close
                else "unknown key; it takes " + ", ".join(cls.model_fields)
            )
        elif error["type"] == "missing":
            message = "is missing"
        return PydanticCustomError("config", "{message}", {"message": message})


class NamedConfig(Config):
    """Settings of a component found by file name; subclasses pin `name` to that file's name."""

    name: str
