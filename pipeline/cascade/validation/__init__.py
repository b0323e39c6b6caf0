"""The specification's CascadeValidationFramework: rules over packets, logs and broker.

framework   the component
auditor     every packet of every log, in a consumer group of its own
observer    reads the newest records and the broker's state
alerts      what becomes of findings on `cascade.alerts`
"""

from pipeline.cascade.validation.auditor import AuditTotals, EntrySource, RuleTotals
from pipeline.cascade.validation.framework import CascadeValidationFramework
from pipeline.cascade.validation.observer import ClusterObserver, Observer

__all__ = [
    "AuditTotals",
    "CascadeValidationFramework",
    "ClusterObserver",
    "EntrySource",
    "Observer",
    "RuleTotals",
]
