"""What sections of the settings have in common."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Seconds", "Section", "no_truth_value"]

Seconds = Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)]


def no_truth_value(value: Any) -> Any:
    """Return `value`; a truth value is refused, which Python would count as 0 or 1."""
    if isinstance(value, bool):
        raise ValueError("Expected no truth value")  # noqa: TRY004  # pydantic reports ValueErrors
    return value


class Section(BaseModel):
    """A frozen part of the settings that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        return no_truth_value(value)
