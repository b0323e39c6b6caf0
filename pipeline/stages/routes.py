"""Which packets each stage reads and writes, and on which topics."""

from dataclasses import dataclass

from msgspec import Struct

from pipeline.packets import models
from pipeline.packets.lanes import INGEST_TOPIC, PRIORITY_TOPIC
from pipeline.packets.vocabulary import SuperpositionType
from pipeline.transport.journal import LogSpec

__all__ = ["ROUTES", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """One stage's place in the cascade.

    Attributes:
        spec: Topics.
        reads: Type of the packets that it decides on.
        reads_type: Their packet type; any other is a routing error.
        writes: Its record for a packet.
        writes_type: That packet's type.
        target: Next system; the gateway after execution.
        part: Field of its record that it adds.
        carried: Fields that earlier stages added.
    """

    spec: LogSpec
    reads: type[Struct]
    reads_type: SuperpositionType
    writes: type[Struct]
    writes_type: SuperpositionType
    target: str
    part: str
    carried: tuple[str, ...]

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self.spec.stage


def _log(stage: str) -> str:
    return f"cascade.{stage}"


ROUTES = {
    route.stage: route
    for route in (
        Route(
            LogSpec(
                "strategic", _log("strategic"), INGEST_TOPIC, priority=PRIORITY_TOPIC, first=True
            ),
            models.MarketData,
            SuperpositionType.CONTEXT_UPDATE,
            models.StrategicSignal,
            SuperpositionType.STRATEGIC_SIGNAL,
            "tactical",
            "strategic",
            (),
        ),
        Route(
            LogSpec(
                "tactical", _log("tactical"), _log("strategic"), logs=frozenset({_log("strategic")})
            ),
            models.StrategicSignal,
            SuperpositionType.STRATEGIC_SIGNAL,
            models.TacticalSignal,
            SuperpositionType.TACTICAL_SIGNAL,
            "risk",
            "tactical",
            ("strategic",),
        ),
        Route(
            # One sequencer per account group: the group shares out the fills, keyed by account,
            # and every owner reads all tactical partitions.
            LogSpec(
                "risk",
                _log("risk"),
                "cascade.fills",
                joined=(_log("tactical"),),
                logs=frozenset({"cascade.fills", _log("tactical")}),
            ),
            models.TacticalSignal,
            SuperpositionType.TACTICAL_SIGNAL,
            models.RiskAssessment,
            SuperpositionType.RISK_ASSESSMENT,
            "execution",
            "risk",
            ("strategic", "tactical"),
        ),
        Route(
            LogSpec("execution", _log("execution"), _log("risk"), logs=frozenset({_log("risk")})),
            models.RiskAssessment,
            SuperpositionType.RISK_ASSESSMENT,
            models.ExecutionPlan,
            SuperpositionType.EXECUTION_PLAN,
            "gateway",
            "execution",
            ("strategic", "tactical", "risk"),
        ),
    )
}
