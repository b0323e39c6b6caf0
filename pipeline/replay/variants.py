"""Which decisions to replay by: those of now, or with a policy or limits changed."""

import dataclasses
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError, UsageError
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.strategic import StrategicSettings
from pipeline.policies.tactical import TacticalSettings
from pipeline.settings import Settings
from pipeline.stages.contract import StageLogic
from pipeline.stages.execution_logic import ExecutionLogic
from pipeline.stages.risk_logic import RiskLogic
from pipeline.stages.routes import ROUTES
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.stages.tactical_logic import TacticalLogic

__all__ = ["Changes", "LimitChange", "builtin"]

_METHODS = ("initial", "decide", "apply", "dump", "load")
_SWITCHES = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit of a stage's policy, changed.

    Attributes:
        stage: The stage.
        name: Field of its settings.
        before: Its value in force.
        after: The value to try.
    """

    stage: str
    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.stage}.{self.name}: {self.before} to {self.after}"

    @classmethod
    def parse(cls, text: str, settings: Settings) -> "LimitChange":
        """Return the change that `STAGE.LIMIT=VALUE` spells.

        Raises:
            UsageError: If there is no such limit, or the value does not fit it.
        """
        name, separator, value = text.partition("=")
        stage, _, limit = name.partition(".")
        if not separator or stage not in ROUTES:
            raise UsageError(
                f"Expected STAGE.LIMIT=VALUE with a stage of {', '.join(ROUTES)}, was {text!r}"
            )
        limits = _settings_of(stage, settings)
        known = [each.name for each in dataclasses.fields(limits) if _is_limit(limits, each.name)]
        if limit not in known:
            raise UsageError(f"Expected a limit of {stage}, one of {', '.join(known)}, was {limit}")
        before = getattr(limits, limit)
        return cls(stage, limit, before, _value(before, value, name))


@dataclass(frozen=True, slots=True)
class Changes:
    """What is changed for a what-if.

    Attributes:
        limits: Limits.
        policies: `MODULE:NAME` by stage.
    """

    limits: tuple[LimitChange, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, limits: Sequence[str], policies: Sequence[str], settings: Settings) -> "Changes":
        """Return the changes that `STAGE.LIMIT=VALUE` and `STAGE=MODULE:NAME` spell.

        Raises:
            UsageError: If one cannot be understood, or two contradict each other.
        """
        found = tuple(LimitChange.parse(text, settings) for text in limits)
        replaced: dict[str, str] = {}
        for text in policies:
            stage, separator, name = text.partition("=")
            if not separator or stage not in ROUTES or ":" not in name:
                raise UsageError(
                    f"Expected STAGE=MODULE:NAME with a stage of {', '.join(ROUTES)}, was {text!r}"
                )
            replaced[stage] = name
        if both := {each.stage for each in found} & replaced.keys():
            raise UsageError(
                f"Expected limits or a policy for {', '.join(sorted(both))}, was both: limits are"
                " those of the built-in policy"
            )
        names = [(each.stage, each.name) for each in found]
        if len(set(names)) < len(names):
            raise UsageError("Expected each limit once, was twice")
        return cls(found, replaced)

    def __bool__(self) -> bool:
        return bool(self.limits or self.policies)

    def __str__(self) -> str:
        texts = [str(each) for each in self.limits]
        texts += [f"{stage} by {name}" for stage, name in self.policies.items()]
        return "; ".join(texts)

    @property
    def stages(self) -> frozenset[str]:
        """Stages that decide differently."""
        return frozenset({*(each.stage for each in self.limits), *self.policies})

    def logic(self, stage: str, settings: Settings) -> StageLogic[Any]:
        """Return a stage's decisions with all changes.

        Raises:
            UsageError: If a policy cannot be loaded.
        """
        if (name := self.policies.get(stage)) is not None:
            return _loaded(stage, name)
        mine = [each for each in self.limits if each.stage == stage]
        return builtin(stage, settings, mine)

    def names(self, stage: str) -> list[str]:
        """Return what is changed at a stage, in words."""
        limits = [str(each) for each in self.limits if each.stage == stage]
        policy = self.policies.get(stage)
        return limits if policy is None else [*limits, f"policy {policy}"]

    def single(self, stage: str, settings: Settings) -> dict[str, StageLogic[Any]]:
        """Return a stage's decisions with each of its changes alone; none if there is but one."""
        if len(self.limits) + len(self.policies) < len(("one", "another")):
            return {}
        found: dict[str, StageLogic[Any]] = {
            str(each): builtin(stage, settings, [each])
            for each in self.limits
            if each.stage == stage
        }
        if (policy := self.policies.get(stage)) is not None:
            found[f"policy {policy}"] = _loaded(stage, policy)
        return found


def builtin(stage: str, settings: Settings, changed: Sequence[LimitChange] = ()) -> StageLogic[Any]:
    """Return a stage's decisions as its worker has them, with some limits changed.

    Raises:
        UsageError: If the limits do not fit together.
    """
    values = {each.name: each.after for each in changed}
    try:
        limits = dataclasses.replace(_settings_of(stage, settings), **values)
    except ConfigurationError as error:
        raise UsageError(str(error)) from error
    return _LOGICS[stage](limits)


_LOGICS: Mapping[str, Callable[[Any], StageLogic[Any]]] = {
    "strategic": StrategicLogic,
    "tactical": TacticalLogic,
    "risk": RiskLogic,
    "execution": ExecutionLogic,
}


def _settings_of(stage: str, settings: Settings) -> Any:
    """Return the settings of a stage's built-in policy, as its worker has them."""
    if stage == "risk":
        return RiskLogic.of(settings).settings
    return {
        "strategic": StrategicSettings,
        "tactical": TacticalSettings,
        "execution": ExecutionSettings,
    }[stage]()


def _is_limit(limits: Any, name: str) -> bool:
    return isinstance(getattr(limits, name), bool | int | float)


def _value(before: Any, text: str, name: str) -> Any:
    if isinstance(before, bool):
        if text.lower() in _SWITCHES:
            return _SWITCHES[text.lower()]
        raise UsageError(f"Expected true or false for {name}, was {text!r}")
    kind = int if isinstance(before, int) else float
    try:
        return kind(text)
    except ValueError as error:
        word = "a whole number" if kind is int else "a number"
        raise UsageError(f"Expected {word} for {name}, was {text!r}") from error


def _loaded(stage: str, name: str) -> StageLogic[Any]:
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `faust -A` has it
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute)
        logic = found() if isinstance(found, type) or not hasattr(found, "decide") else found
    except Exception as error:
        raise UsageError(f"Expected a policy at {name}, was: {error!r}") from error
    missing = [each for each in _METHODS if not callable(getattr(logic, each, None))]
    if missing:
        raise UsageError(
            f"Expected a StageLogic at {name}, was without {', '.join(missing)};"
            " `pipeline/stages/contract.py` says what one is"
        )
    if logic.stage != stage:
        raise UsageError(f"Expected a policy of {stage} at {name}, was one of {logic.stage}")
    stage_logic: StageLogic[Any] = logic
    return stage_logic
