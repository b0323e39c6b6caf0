"""Sections of the settings that components of `pipeline.cascade` take their defaults from.

The keys are those of the specification's YAML file. They carry no unit where the specification
gives none: intervals and time-outs are seconds. `pipeline.settings.names` has the variable and the
constructor's argument that belong to each.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, ConfigDict, Field

from pipeline.settings.sections import Seconds, Section

__all__ = [
    "CoordinationSettings",
    "DashboardSettings",
    "DetectionSettings",
    "EmergencyContact",
    "EmergencySettings",
    "PerformanceSettings",
    "ScalingSettings",
    "ValidationSettings",
]

Ratio = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]
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


class DetectionSettings(Section):
    """When the emergency worker declares an emergency.

    What is to be seen, and its two limits: from the first on the level is WARNING, from the second
    on CRITICAL. A cause that lasts `escalate_after` longer than it took to be declared counts one
    level higher.

    Attributes:
        interval: Seconds between two looks.
        window: Seconds over which rates are taken.
        hold: Seconds that a cause must last before it counts.
        clear: Seconds without it after which it counts as over.
        settle: Seconds after a disturbance (a worker gone or back, a fence, a silent broker) in
            which latency, backlog and standstill say nothing.
        escalate_after: Seconds.
        least_packets: Fewest packets of a window that make a rate.
        least_requests: Fewest coordination requests of a window that make a rate.
        crash_loop: So often a worker ends unasked within a minute: CRITICAL.
        standstill: Seconds without a packet that leaves while packets enter.
        latency_warning: p95 of the end-to-end latency, in units of the target.
        latency_critical: The same.
        malformed_warning: Share of records that are no packets.
        malformed_critical: The same.
        failure_warning: Share of packets that break a rule, or that a policy failed on.
        failure_critical: The same.
        coordination_warning: Share of coordination requests that were not answered in full.
        coordination_critical: The same.
        broker_silence: Seconds without an answer of the broker.
        queue_warning: Records that wait for a system.
        queue_critical: The same.
        usage_warning: Share of this machine's memory, or of the disk below CASCADE_HOME, in use.
        usage_critical: The same.
        worker_memory_mb: Mebibytes of a worker process; CRITICAL from half as much again on.
    """

    interval: Seconds = 0.5
    window: Seconds = 10.0
    hold: Seconds = 1.5
    clear: Seconds = 5.0
    settle: Seconds = 10.0
    escalate_after: Seconds = 20.0
    least_packets: Count = 20
    least_requests: Count = 5
    crash_loop: Count = 3
    standstill: Seconds = 5.0
    latency_warning: Positive = 1.0
    latency_critical: Positive = 2.0
    malformed_warning: Ratio = 0.01
    malformed_critical: Ratio = 0.2
    failure_warning: Ratio = 0.01
    failure_critical: Ratio = 0.2
    coordination_warning: Ratio = 0.5
    coordination_critical: Ratio = 0.9
    broker_silence: Seconds = 10.0
    queue_warning: Count = 1000
    queue_critical: Count = 5000
    usage_warning: Ratio = 0.9
    usage_critical: Ratio = 0.95
    worker_memory_mb: Positive = 2000.0


class ScalingSettings(Section):
    """When more or fewer workers of a stage are recommended, and how often that is acted on.

    Attributes:
        target: Share of the time in which a worker should be busy.
        up: Seconds for which more must have been wanted before more are recommended.
        down: Seconds for which fewer must have been wanted: each change makes a group rebalance.
        pause: Seconds after a change of a stage in which `cascade run --autoscale` changes nothing
            more there.
    """

    target: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 0.7
    up: Seconds = 10.0
    down: Seconds = 120.0
    pause: Seconds = 30.0


class DashboardSettings(Section):
    """Settings of the dashboard's web server.

    Attributes:
        host: Address that it listens on; another than a loopback address needs TLS, or
            `remote_http`.
        port: Port; 0 takes any that is free.
        users_file: File of the users; None: `users.json` of the home folder.
        tls_certificate: Certificate chain in PEM; None: no TLS.
        tls_key: Its private key in PEM.
        remote_http: Whether it may listen without TLS on an address that others reach: `refuse`,
            or `allow`, as behind a proxy that ends TLS, or in a container whose port is published
            to loopback alone.
        session_idle_s: Seconds after which a session that was not used ends.
    """

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8765
    users_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    remote_http: Literal["refuse", "allow"] = "refuse"
    session_idle_s: Seconds = 1800.0
