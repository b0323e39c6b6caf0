"""Which signs last long enough to be emergencies; with hysteresis, so that none flaps; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.emergency.detectors import Sign
from pipeline.emergency.table import LEVELS
from pipeline.packets.events import EmergencyLevel, EmergencyType
from pipeline.settings import DetectionSettings

__all__ = ["Turn", "TurnKind", "Vigil"]

Key = tuple[EmergencyType, str]


class TurnKind(StrEnum):
    """What has become of a sign.

    Attributes:
        BEGUN: It has lasted long enough.
        WORSE: Its level is higher than before.
        OVER: It has been away long enough.
    """

    BEGUN = "BEGUN"
    WORSE = "WORSE"
    OVER = "OVER"


@dataclass(frozen=True, slots=True)
class Turn:
    """A change that matters.

    Attributes:
        kind: What has become of it.
        sign: The sign, at the level that counts.
        since_s: When it was first seen, seconds.
    """

    kind: TurnKind
    sign: Sign
    since_s: float


@dataclass(slots=True)
class _Case:
    """A sign that is being watched."""

    sign: Sign
    first_s: float
    last_s: float
    worse_s: float | None = None
    begun_s: float | None = None
    level: EmergencyLevel = EmergencyLevel.ADVISORY


class Vigil:
    """Follows signs from look to look.

    A sign counts once it was there for `hold` seconds, without being away for longer than `hold`;
    it is over once it was away for `clear` seconds. A higher level counts once it was there for
    `hold` seconds; a lower one never. One that lasts `escalate_after` seconds from when it counts
    is one level higher, once, up to EMERGENCY; CAUTION is not raised, for nothing is wrong then
    any more.

    Args:
        limits: Seconds of each.
    """

    def __init__(self, limits: DetectionSettings) -> None:
        self._limits = limits
        self._cases: dict[Key, _Case] = {}

    def forget(self) -> None:
        """Begin anew."""
        self._cases.clear()

    def reopen(self, kind: EmergencyType, subject: str) -> None:
        """Have a sign begin anew if it is still there: people took its emergency for over.

        What counts at once tells of moments that are past, not of a state, so it goes on.
        """
        case = self._cases.get((kind, subject))
        if case is not None and not case.sign.at_once:
            del self._cases[kind, subject]

    def judge(self, signs: Iterable[Sign], now_s: float) -> list[Turn]:
        """Take the signs of one look; return what changed by them."""
        turns = []
        for sign in signs:
            key = (sign.emergency_type, sign.subject)
            case = self._cases.get(key)
            if case is None or (case.begun_s is None and self._lapsed(case, now_s)):
                case = self._cases[key] = _Case(sign, now_s, now_s)
            turns += self._follow(case, sign, now_s)
        for key, case in list(self._cases.items()):
            if now_s - case.last_s >= self._limits.clear:
                del self._cases[key]
                if case.begun_s is not None:
                    turns.append(Turn(TurnKind.OVER, case.sign, case.first_s))
        return turns

    def _lapsed(self, case: _Case, now_s: float) -> bool:
        return now_s - case.last_s > self._limits.hold

    def _follow(self, case: _Case, sign: Sign, now_s: float) -> list[Turn]:
        case.sign, case.last_s = sign, now_s
        hold_s = 0.0 if sign.at_once else self._limits.hold
        if case.begun_s is None:
            if now_s - case.first_s < hold_s:
                return []
            case.begun_s, case.level = now_s, sign.level
            return [Turn(TurnKind.BEGUN, sign, case.first_s)]
        level = self._level(case, sign, now_s)
        if LEVELS.index(level) <= LEVELS.index(case.level):
            case.worse_s = None
            return []
        case.worse_s = now_s if case.worse_s is None else case.worse_s
        if now_s - case.worse_s < hold_s:
            return []
        case.level, case.worse_s = level, None
        return [Turn(TurnKind.WORSE, replace(sign, level=level), case.first_s)]

    def _level(self, case: _Case, sign: Sign, now_s: float) -> EmergencyLevel:
        begun_s = case.begun_s if case.begun_s is not None else now_s
        place = LEVELS.index(sign.level)
        lasting = now_s - begun_s >= self._limits.escalate_after
        if not lasting or sign.at_once or sign.level is EmergencyLevel.CAUTION:
            return sign.level
        return LEVELS[min(place + 1, len(LEVELS) - 1)]
