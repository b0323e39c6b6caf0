"""The rules that come with the cascade, at least three of each validation type.

packets          one packet: integrity, continuity, budgets, bounds, configuration
superpositions   one packet: sums, modes, coherence, views
times            one packet, and packets in a row
flows            the newest records of all logs
cluster          the broker's state; deep validations only
"""

from pipeline.rules.builtin.cluster import CLUSTER_RULES
from pipeline.rules.builtin.flows import FLOW_RULES
from pipeline.rules.builtin.packets import PACKET_RULES
from pipeline.rules.builtin.superpositions import SUPERPOSITION_RULES
from pipeline.rules.builtin.times import TIME_RULES
from pipeline.rules.model import ValidationRule

__all__ = ["BUILT_IN"]

BUILT_IN: tuple[ValidationRule, ...] = (
    *PACKET_RULES,
    *SUPERPOSITION_RULES,
    *TIME_RULES,
    *FLOW_RULES,
    *CLUSTER_RULES,
)
"""All of them; shared instances, so a `RuleSet` keeps its own word on which are enabled."""
