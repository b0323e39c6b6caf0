"""Sections of the settings that components of `pipeline.cascade` take their defaults from.

The keys are those of the specification's YAML file. They carry no unit where the specification
gives none: intervals and time-outs are seconds. `pipeline.settings.names` has the variable and the
constructor's argument that belong to each.
"""

from typing import Annotated

from pydantic import AliasChoices, ConfigDict, Field

from pipeline.settings.sections import Seconds, Section

__all__ = [
    "CoordinationSettings",
    "EmergencyContact",
    "EmergencySettings",
    "PerformanceSettings",
    "ValidationSettings",
]

Count = Annotated[int, Field(ge=1, le=10_000_000)]


class CoordinationSettings(Section):
    """Settings of the coordination between systems.

    Attributes:
        heartbeat_interval: Seconds between heartbeats of a system; three missed ones mean that it
            is disconnected.
        sync_timeout: Seconds that a reliable synchronisation waits for all systems.
        max_concurrent_requests: Most decisions that are being coordinated at once.
    """

    heartbeat_interval: Seconds = 1.0
    sync_timeout: Seconds = 10.0
    max_concurrent_requests: Count = 50


class PerformanceSettings(Section):
    """Settings of the performance monitor.

    Attributes:
        target_latency_ms: What p99 from acceptance to order plan is held against, milliseconds.
        sampling_interval: Seconds between samples.
        report_interval: Seconds between reports.
        history_size: Most samples that are kept.
    """

    target_latency_ms: Annotated[float, Field(gt=0.0, le=86_400_000.0, allow_inf_nan=False)] = 100.0
    sampling_interval: Seconds = 0.1
    report_interval: Seconds = 5.0
    history_size: Count = 10_000


class ValidationSettings(Section):
    """Settings of the validation framework.

    Attributes:
        interval: Seconds between validations.
        deep_interval: Seconds between deep ones, which ask the broker too.
        max_concurrent_validations: Most rules that run at once.
    """

    interval: Seconds = 5.0
    deep_interval: Seconds = 30.0
    max_concurrent_validations: Count = 20


class EmergencyContact(Section):
    """Whom to tell of an emergency.

    Attributes:
        name: Who it is.
        contact: Where to reach them: an address or a URL.
        type: How: email, webhook, log, ...
    """

    # `contact_info` and `contact_type` are the names of the constructor's arguments.
    model_config = ConfigDict(populate_by_name=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    contact: Annotated[str, Field(min_length=1, max_length=2000, repr=False)] = Field(
        validation_alias=AliasChoices("contact", "contact_info")
    )
    type: Annotated[str, Field(min_length=1, max_length=50)] = Field(
        default="email", validation_alias=AliasChoices("type", "contact_type")
    )


class EmergencySettings(Section):
    """Settings of the emergency protocols.

    Attributes:
        response_timeout: Seconds within which an emergency is answered, by an automatic action or
            an acknowledgement.
        recovery_attempts: Most attempts at one recovery plan.
        emergency_contacts: Whom to tell.
    """

    response_timeout: Seconds = 30.0
    recovery_attempts: Annotated[int, Field(ge=1, le=1000)] = 3
    emergency_contacts: tuple[EmergencyContact, ...] = ()
