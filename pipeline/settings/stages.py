"""Limits of the stages."""

from typing import Annotated

from pydantic import Field

from pipeline.errors import ConfigurationError
from pipeline.settings.sections import Seconds, Section

__all__ = ["StageSettings", "Stages"]


class StageSettings(Section):
    """Limits of one stage.

    Attributes:
        budget_ms: Share of the cascade timeout, milliseconds; see `Settings.scaled_budget_ms`.
        retries: Retries of a record that failed, beyond the first attempt.
        breaker_failures: Failures in a row that open this stage's breaker; None: as
            `Settings.breaker_failures` says.
        breaker_open_s: How long it stays open; None: as `Settings.breaker_open_s` says.
    """

    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)]
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    breaker_failures: Annotated[int, Field(ge=1)] | None = None
    breaker_open_s: Seconds | None = None


class _Strategic(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 30


class _Tactical(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 20


class _Risk(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 25
    retries: Annotated[int, Field(ge=0, le=100)] = 3


class _Execution(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 25


class Stages(Section):
    """Limits of the four stages."""

    strategic: _Strategic = _Strategic()
    tactical: _Tactical = _Tactical()
    risk: _Risk = _Risk()
    execution: _Execution = _Execution()

    def of(self, stage: str) -> StageSettings:
        """Return the limits of a stage.

        Raises:
            ConfigurationError: If there is no such stage.
        """
        found = getattr(self, stage, None)
        if not isinstance(found, StageSettings):
            names = ", ".join(type(self).model_fields)
            raise ConfigurationError(f"Expected a stage of {names}, was {stage!r}")
        return found
