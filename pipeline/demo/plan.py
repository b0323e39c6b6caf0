"""What a demo is to do."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.run import STAGES

__all__ = ["DemoPlan", "Kill"]


@dataclass(frozen=True, slots=True, order=True)
class Kill:
    """A worker is killed in mid-flow.

    Attributes:
        at_s: Seconds after the first counted record.
        stage: Whose worker.
    """

    at_s: float
    stage: str

    @classmethod
    def parse(cls, text: str) -> "Kill":
        """Return the kill that `STAGE@SECOND` spells.

        Raises:
            UsageError: If it spells none.
        """
        stage, _, at = text.partition("@")
        try:
            kill = cls(float(at), stage)
        except ValueError:
            kill = cls(-1.0, stage)
        if stage not in STAGES or not 0.0 <= kill.at_s < float("inf"):
            raise UsageError(
                f"Expected STAGE@SECOND with a stage of {', '.join(STAGES)}, was {text!r}"
            )
        return kill


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What a demo is to do.

    Attributes:
        seconds: How long counted market data is sent.
        rate: Records a second.
        source: sample, synthetic, or a file; see `pipeline.market.open_feed`.
        symbols: How many symbols; None for as many as the source has.
        seed: Of all that is made up.
        faults: Faults in the counted data, as `pipeline.market.FaultPlan` spells them.
        kills: Workers killed in mid-flow.
        single: Whether the four stages share one process.
        paired: Whether they share two, strategic with tactical and risk with execution.
        partitions: Partitions of what is keyed by symbol. Each costs a decision of its own per
            round, so more than the machine has cores to spare for do not pay.
        warm_up_s: How long data is sent before that which counts.
        keep: Whether a broker that the demo started goes on running.
        namespace: The run's namespace; None for a fresh one.
        json_file: Where the figures go; None for nowhere.
        report_file: Where the HTML report goes; None for the run's own folder.
    """

    seconds: float = 20.0
    rate: float = 200.0
    source: str = "sample"
    symbols: int | None = None
    seed: int = 1
    faults: str = ""
    kills: tuple[Kill, ...] = ()
    single: bool = False
    paired: bool = False
    partitions: int = 1
    warm_up_s: float = 8.0
    keep: bool = False
    namespace: str | None = None
    json_file: Path | None = None
    report_file: Path | None = None

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("rate", self.rate)):
            if not 0.0 < value < float("inf"):
                raise UsageError(f"Expected {name} above 0, was {value}")
        late = [kill for kill in self.kills if kill.at_s >= self.seconds]
        if late:
            raise UsageError(
                f"Expected kills within the {self.seconds:g} s of the demo, was"
                f" {', '.join(f'{kill.stage}@{kill.at_s:g}' for kill in late)}"
            )
