"""Validation rules: pure functions over packets, logs and the broker's state.

model      a rule and what it finds; ways to write one
context    what a rule looks at
builtin    the rules that come with the cascade
registry   those, the ones of installed packages, and the user's
running    asking rules, each fault isolated
report     counts, integrity score, what to do
path       the ones in the packets' path, in every stage
oracle     what must hold over the logs
"""

from pipeline.rules.context import (
    BrokerState,
    CommandSeen,
    GroupState,
    TopicState,
    ValidationContext,
)
from pipeline.rules.model import (
    Need,
    NoData,
    PacketRule,
    ValidationResult,
    ValidationRule,
    packet_rule,
    rule,
)
from pipeline.rules.registry import ENTRY_POINTS, RuleSet
from pipeline.rules.report import ValidationReport

__all__ = [
    "ENTRY_POINTS",
    "BrokerState",
    "CommandSeen",
    "GroupState",
    "Need",
    "NoData",
    "PacketRule",
    "RuleSet",
    "TopicState",
    "ValidationContext",
    "ValidationReport",
    "ValidationResult",
    "ValidationRule",
    "packet_rule",
    "rule",
]
