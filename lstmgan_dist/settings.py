"""What every block of a job file is made of: strict settings, and numbers that change over a phase."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# Whether the settings validated are those of a resolved job, in which nobody has chosen what has its default.
RESOLVED = "resolved"


WithoutUse = Mapping[tuple[str, str], tuple[str, ...]]


class Settings(BaseModel):
    """Base of every block of a job file: frozen, and strict about keys that are unknown or without use.

    without_use: what another setting of the block leaves without use, by that setting's name and value. It is refused
    where somebody gives it, and left out of what is written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    without_use: ClassVar[WithoutUse] = {}

    @model_validator(mode="before")
    @classmethod
    def _has_no_dead_settings(cls, given: Any, info: ValidationInfo) -> Any:
        dead = cls._dead_settings(given) if isinstance(given, dict) else {}
        for name, (setting, value) in dead.items():
            if name in given and info.context != RESOLVED:
                others = [
                    other
                    for other in choices(cls.model_fields[setting])
                    if name not in cls.without_use.get((setting, other), ())
                ]
                raise PydanticCustomError(
                    "without_use",
                    "{setting} {value} has no use for it: leave it out, or {instead}",
                    {
                        "name": name,
                        "setting": setting,
                        "value": value,
                        "instead": f"set {setting}: {either(others)}" if others else f"leave out {setting}",
                    },
                )
        return {name: value for name, value in given.items() if name not in dead} if dead else given

    @model_serializer(mode="wrap")
    def _without_dead_settings(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dead = self._dead_settings(self.__dict__)
        return {name: value for name, value in written(self).items() if name not in dead}

    @classmethod
    def _dead_settings(cls, values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """The names of settings without use, each with the setting that leaves it so and that one's value."""
        return {
            name: (setting, value)
            for (setting, value), names in cls.without_use.items()
            if values.get(setting, cls.model_fields[setting].default) == value
            for name in names
        }


Probability = Annotated[float, Field(ge=0, lt=1)]


class Schedule(Settings):
    """A number that changes over a phase, or over so many of its steps."""

    start: float = Field(description="Value at the first step of the phase.")
    end: float = Field(description="Value at the last step of the phase, or `steps` steps after the first.")
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Steps from start to end, whatever the phase's length: a shorter phase ends on the way, a longer "
        "one stays at the end; none: those of the phase.",
    )
    shape: Literal["linear", "cosine", "exponential"] = Field(
        default="linear", description="How the value goes from start to end; exponential needs both above 0."
    )

    @model_validator(mode="after")
    def _exponential_is_positive(self) -> Self:
        if self.shape == "exponential" and min(self.start, self.end) <= 0:
            raise ValueError("an exponential schedule needs start and end above 0: try shape: linear")
        return self

    def at(self, step: int, steps: int) -> float:
        """The value at a phase's `step` (from 0) of `steps`."""
        fraction = step / max(1, steps - 1) if self.steps is None else min(1.0, step / self.steps)
        if self.shape == "exponential":
            return self.start * (self.end / self.start) ** fraction
        weight = fraction if self.shape == "linear" else (1 - math.cos(math.pi * fraction)) / 2
        return self.start + (self.end - self.start) * weight


def value_at(setting: float | Schedule, step: int, steps: int) -> float:
    """A setting that is either one number or a schedule, at a phase's `step` (from 0) of `steps`."""
    return setting.at(step, steps) if isinstance(setting, Schedule) else setting


class Interval(Settings):
    """How often something happens, written as `50 steps` or `1 epoch`."""

    count: int = Field(ge=1)
    unit: Literal["steps", "epochs"]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[1-9]\d* (steps?|epochs?)$", "examples": ["50 steps", "1 epoch"]}

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, value: Any) -> Any:
        if isinstance(value, dict | Interval):
            return value
        match = re.fullmatch(r"([1-9]\d*) (step|epoch)s?", str(value).strip())
        if not match:
            raise ValueError(f"{value!r} is not an interval: write '50 steps' or '1 epoch'")
        return {"count": int(match[1]), "unit": match[2] + "s"}

    @model_serializer
    def _in_words(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.count} {self.unit if self.count > 1 else self.unit[:-1]}"

    def steps(self, steps_per_epoch: int) -> int:
        """The interval in steps."""
        return self.count if self.unit == "steps" else self.count * steps_per_epoch


# A word of a file or a command line that may not be empty.
Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, eq=False)  # hashed as itself, as annotations are
class OneOf:
    """Annotates a setting that is a block of one of the kinds of a table.

    default: the kind of a block that names none; without one, it has to.
    """

    kinds: Mapping[str, type[Settings]]
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        blocks = list(self.kinds.values())
        if len(blocks) == 1:
            return handler.generate_schema(blocks[0])
        union = handler.generate_schema(Annotated[Union[tuple(blocks)], Field(discriminator="kind")])  # noqa: UP007
        return core_schema.no_info_before_validator_function(self._named, union)

    def _named(self, given: Any) -> Any:
        if self.default is not None and isinstance(given, dict) and "kind" not in given:
            return {"kind": self.default, **given}
        return given


@dataclass(frozen=True, eq=False)  # hashed as itself, as annotations are
class KeyOf:
    """Annotates a setting that is one of the words of a table."""

    table: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.table))


def choices(field: FieldInfo) -> list[str]:
    """The words that a setting may be."""
    words = [word for one in field.metadata if isinstance(one, KeyOf) for word in one.table]
    # A setting that may also be left unset has its words one level further down.
    named = [word for one in get_args(field.annotation) for word in get_args(one) or [one]]
    return words or [word for word in named if isinstance(word, str)]


def either(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
