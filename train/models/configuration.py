"""Configurations of models: frozen dataclasses, strictly validated by pydantic."""

from collections.abc import Iterable
from dataclasses import Field as DataclassField
from functools import wraps
from typing import Annotated, Any, ClassVar, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.excerpts import cut, expectation

C = TypeVar("C")

LARGEST = 2**31 - 1
"""Largest integer in a configuration, so that a product of two fits in 64 bits."""
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_LONGEST_REASON = 400


class ModelConfig:
    """A model's configuration: a frozen dataclass; bundles and checkpoints store it as JSON."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, DataclassField[Any]]]

    def __post_init__(self) -> None:
        problems = [*self.problems()]
        if problems:
            raise InvalidInput("; ".join(problems))

    def problems(self) -> Iterable[str]:
        """Return problems between fields; each field by itself has a valid value."""
        return ()


class AutoregressiveConfig(ModelConfig):
    """The configuration of an autoregressive model."""

    __slots__ = ()


class LatentConfig(ModelConfig):
    """The configuration of a latent variable model."""

    __slots__ = ()


@dataclass_transform(frozen_default=True)
def configuration(cls: type[C]) -> type[C]:
    """Make a class with annotated fields a frozen dataclass that checks its values.

    A wrong value raises InvalidInput, with the name of the class and of each field.
    """
    rules = ConfigDict(extra="forbid", strict=True)
    made: Any = dataclass(frozen=True, slots=True, config=rules)(cls)
    init = made.__init__

    @wraps(init)
    def checked(self: C, *values: Any, **fields: Any) -> None:
        try:
            init(self, *values, **fields)
        except ValidationError as error:
            raise refusal(cls.__name__, error) from None

    made.__init__ = checked
    return made


def refusal(what: str, error: ValidationError) -> InvalidInput:
    """Return the problems that pydantic found as one InvalidInput, with the name of each field."""
    problems = []
    for each in error.errors(include_url=False):
        reason = expectation(each["msg"])
        if each["loc"]:
            reason = f"{cut(str(each['loc'][0]))}: {reason}, got {shown(each['input'])}"
        problems.append(reason)
    return InvalidInput(f"{what}: {cut('; '.join(dict.fromkeys(problems)), _LONGEST_REASON)}")
