"""Registered parts that YAML names with their arguments: `{name: focal_loss, config: {gamma: 2.0}}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from swift.core.config.base import Config


@dataclass(frozen=True)
class PartsOf:
    """Beside the type of a key: the kind of registered part that its names mean."""

    kind: str


class Named(Config):
    """A registered part and the arguments it is built with; a bare name is short for {name: NAME}."""

    name: str = Field(description="its registered name")
    config: dict[str, Any] = Field(default_factory=dict, description="its arguments")


class Weighted(Named):
    """One of several parts that are added up."""

    weight: float = Field(1.0, allow_inf_nan=False, description="its factor in the sum")

    @field_validator("weight")
    @classmethod
    def _not_zero(cls, weight: float) -> float:
        if weight == 0:
            raise ValueError("a part of weight 0 does nothing: leave it out")
        return weight


def _as_list(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    return [{"name": item} if isinstance(item, str) else item for item in items]


NamedParts = Annotated[list[Named], BeforeValidator(_as_list)]
"""One name, one {name, config}, or a list of either."""

LossType = Annotated[
    str | list[Weighted],
    BeforeValidator(lambda value: value if isinstance(value, str) else _as_list(value)),
    PartsOf("loss"),
]
"""One loss by name, or a weighted sum of several: [{name: cross_entropy}, {name: mine, weight: 0.2}]."""


def losses_of(loss_type: str | list[Weighted], config: dict[str, Any]) -> list[Weighted]:
    """The terms of a loss, with the arguments of each.

    Raises:
        ValueError: arguments beside a list, whose entries have their own.
    """
    if isinstance(loss_type, str):
        return [Weighted(name=loss_type, config=config)]
    if config:
        raise ValueError("with several losses each entry of loss_type has its own config")
    if not loss_type:
        raise ValueError("loss_type is an empty list: name at least one loss")
    return loss_type


def _as_names(value: Any) -> Any:
    alone = isinstance(value, str | Named) or (isinstance(value, dict) and "name" in value)
    return [value] if alone else value


def _name_or_named(value: Any) -> Any:
    if isinstance(value, str | Named):
        return value
    wanted = "write a name or {name: NAME, config: {...}}"
    if not isinstance(value, dict):
        raise PydanticCustomError("data_set", "{reason}", {"reason": f"not a data set; {wanted}"})
    try:
        return Named.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise PydanticCustomError(
            "data_set", "{reason}", {"reason": f"{key}: {first['msg']}; {wanted}"}
        ) from None


DatasetItem = TypeAliasType("DatasetItem", Annotated[str | Named, BeforeValidator(_name_or_named)])
"""A name as it stands, or a registered data set with its arguments."""

DatasetItems = Annotated[list[DatasetItem], BeforeValidator(_as_names)]
"""One data set or a list of them."""
