"""What must hold over the logs, as pure functions: each returns its violations, one a line.

    reading        which records count, and what in a log nobody can have written
    flows          one record per input, order, outcomes, fates that stay
    orders         approval before each order, its bounds, its deadline, its announcement
    reservations   reserved = open + released
    venue          what the venue did against what the logs say
    evidence       all of it at once: `examine`, a finding per violation

A log is given as its partitions, a partition as (offset, value) pairs in order of offset, as any
consumer reads them. The reading rule is spelled out here once more, on purpose: who checks the
writers shares no code with them. `LogReading` follows a log record by record, for who does not wish
to hold it as a whole.
"""

from pipeline.rules.oracle.evidence import CHECKERS, Checker, Evidence, Finding, examine
from pipeline.rules.oracle.flows import (
    count_outcomes,
    fates_stay,
    inputs_used_by_the_rule,
    one_record_per_input,
    outcomes_add_up,
    symbols_in_order,
)
from pipeline.rules.oracle.orders import (
    needs_end,
    one_end_per_flow,
    orders_are_announced_in_time,
    orders_are_approved,
    orders_keep_to_their_bounds,
)
from pipeline.rules.oracle.reading import (
    Accepted,
    Log,
    LogReading,
    Partition,
    Void,
    accepted_of,
    accepted_records,
    foreign_records,
)
from pipeline.rules.oracle.reservations import reservations_balance
from pipeline.rules.oracle.venue import (
    VenueFact,
    orders_are_sent_as_announced,
    orders_are_sent_in_time,
    orders_are_sent_once,
    results_are_the_venues,
)

__all__ = [
    "CHECKERS",
    "Accepted",
    "Checker",
    "Evidence",
    "Finding",
    "Log",
    "LogReading",
    "Partition",
    "VenueFact",
    "Void",
    "accepted_of",
    "accepted_records",
    "count_outcomes",
    "examine",
    "fates_stay",
    "foreign_records",
    "inputs_used_by_the_rule",
    "needs_end",
    "one_end_per_flow",
    "one_record_per_input",
    "orders_are_announced_in_time",
    "orders_are_approved",
    "orders_are_sent_as_announced",
    "orders_are_sent_in_time",
    "orders_are_sent_once",
    "orders_keep_to_their_bounds",
    "outcomes_add_up",
    "reservations_balance",
    "results_are_the_venues",
    "symbols_in_order",
]
