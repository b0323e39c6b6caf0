"""The settings themselves: names, units, limits, defaults."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.errors import ConfigurationError
from pipeline.settings import secret_files
from pipeline.settings.alerting import AlertSettings
from pipeline.settings.components import (
    CoordinationSettings,
    DashboardSettings,
    DetectionSettings,
    EmergencySettings,
    PerformanceSettings,
    ScalingSettings,
    ValidationSettings,
)
from pipeline.settings.flags import from_flags
from pipeline.settings.secret_files import is_secret
from pipeline.settings.sections import Seconds, no_truth_value
from pipeline.settings.sources import ENV_FILE, PREFIX, EnvFile, Variables, from_yaml
from pipeline.settings.stages import Stages

__all__ = ["MOST_GATHERED", "Settings"]

# A broker that comes back is found within a second; by default that may take ten.
_EVERY_CLIENT = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 1000}
MOST_GATHERED = 0.3
"""Most of the time that a packet has that is spent on gathering."""

# The protocol rests on these, so nobody may set them from outside.
_OURS = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "client.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "group.id",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "request.required.acks",
        "transactional.id",
    }
)

Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]
Records = Annotated[int, Field(ge=1, le=10_000_000)]


class Settings(BaseSettings):
    """All settings; build it with `load_settings`.

    Attributes:
        broker: Kafka bootstrap servers, `host:port[,host:port]`; None: find or start one.
        namespace: Prefix of topics, groups and client ids, so that runs share none.
        home: Local state: broker data, latch, logs.
        account: Account that orders are for.
        cascade_timeout_ms: From acceptance to deadline.
        transport_reserve_ms: Part of it kept for transport between stages.
        clock: `wall`, or `event` for replays: now is the event time of the input.
        stages: Limits of each stage.
        coordination: Coordination between systems.
        performance: Performance monitor.
        validation: Validation framework.
        emergency: Emergency protocols.
        detection: When the emergency worker declares an emergency.
        alerts: When the monitor worker raises alerts, and who is told.
        scaling: How many workers of a stage are recommended.
        dashboard: The dashboard's web server.
        backoff_base_ms: First pause before a retry; doubles each time.
        breaker_failures: Failures in a row that open a policy's breaker.
        breaker_open_s: How long it stays open before it probes.
        gather_ms: The longest that a busy worker of the first stage waits for more records, at
            most 0.3 of the cascade's time; an idle one never waits.
        round_max_records: Most records of one round.
        overload: What becomes of packets past capacity: `expire`, where they are late, or `shed`,
            by the first stage, as soon as it foresees that they will be.
        lane_queue_records: Most records queued in a worker, per lane.
        instance: Name of this worker among those of its stage, the same after a restart; with it
            a restarted worker gets its partitions back without waiting for the session to end.
        session_timeout_ms: Group session; brokers refuse less than their
            group.min.session.timeout.ms, 6000 as they come.
        heartbeat_interval_ms: Group heartbeat, at most a third of the session.
        unacked_limit_s: Age of the oldest unacknowledged output that ends ownership.
        snapshot_interval_s: Most seconds between snapshots.
        snapshot_records: Most log records between snapshots.
        record_max_bytes: Largest record; brokers take 1,048,588 bytes as they come.
        max_concurrent_flows: Most flows in flight at injection.
        emergency_threshold: Health score below which the cascade is in the state EMERGENCY, 0 to 1.
        initial_equity: Cash of the account before the first fill.
        control_echo_timeout_s: Without a sign of the broker for this long: HALTED.
        audit_max_lag_s: Execution and gateway halt while the auditor is further behind, or silent
            for as long; 0: they do not mind the auditor.
        audit_window_s: How often the auditor adds to the audit log.
        audit_patience_s: How long a record may be overtaken by others before the auditor calls it
            missing.
        audit_open_limit_s: For how long the auditor follows a flow that does not end.
        control_authors: Who may bootstrap and resume; with commas between in the environment. A
            name is a claim: who can write to the control log at all is for the broker's ACLs.
        upgrade_window_s: How long workers of one stage may differ in settings or policy, as while
            they are replaced one by one; after that execution is halted.
        topic_profile: Profile of `topics.yaml` that topics are created with.
        acl_principal: Who a role is to the broker's authorizer; `{role}` becomes the role's name,
            behind the namespace where there is one: `User:{role}`, `User:CN={role},O=Desk`.
        registry_url: A Confluent-compatible schema registry, `http://[user:password@]host:port`;
            None: none.
        log_level: Least level that is logged; `cascade log-level` changes it while workers run.
        log_format: `text`, or `json` for an object a line.
        metrics_host: Where workers listen for Prometheus; loopback, since `/metrics` asks nobody
            who they are.
        metrics_port: First port of `/metrics`, each role its own from there on, see
            `pipeline.metrics.server`; 0: any free one, -1: none.
        metrics_interval_s: Seconds between the monitor's snapshots on `cascade.metrics`.
        trace_ratio: Share of the flows, 0 to 1, that the monitor exports as traces, over OTLP to
            OTEL_EXPORTER_OTLP_ENDPOINT; 0: none.
        paper: How the paper broker misbehaves, e.g. `partial=0.1,reject=0.05,slow_ms=200`; see
            `pipeline.gateway.fills.PaperBehaviour`.
        kafka: More librdkafka properties, e.g. for TLS and SASL; in the environment
            `CASCADE_KAFKA__SECURITY_PROTOCOL=SASL_SSL`. What may be a secret is a `SecretStr`.
        credentials: Folder of files, each named as a property of `kafka` and holding its value, or
            of one such folder per role. `kafka` itself comes before it.
        role: Whose folder in `credentials`, and whose rights: the operator's, or a stage's.
        keys: Key ring with the public keys that commands and order plans are checked with; with
            it, unsigned ones are refused. See `pipeline.keys`.
        signing_key: Private key that this process signs with; `signing.key` among the
            credentials where it is not given.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    broker: str | None = None
    namespace: Annotated[str, Field(max_length=100)] = ""
    home: Path = Path(".cascade")
    account: Annotated[str, Field(min_length=1, max_length=128)] = "main"
    # The alias makes the variable CASCADE_TIMEOUT_MS, not CASCADE_CASCADE_TIMEOUT_MS.
    cascade_timeout_ms: Annotated[int, Field(ge=1, le=86_400_000)] = Field(
        default=100, validation_alias="cascade_timeout_ms"
    )
    transport_reserve_ms: Milliseconds = 10
    clock: Literal["wall", "event"] = "wall"
    stages: Stages = Stages()
    coordination: CoordinationSettings = CoordinationSettings()
    performance: PerformanceSettings = PerformanceSettings()
    validation: ValidationSettings = ValidationSettings()
    emergency: EmergencySettings = EmergencySettings()
    detection: DetectionSettings = DetectionSettings()
    alerts: AlertSettings = AlertSettings()
    scaling: ScalingSettings = ScalingSettings()
    dashboard: DashboardSettings = DashboardSettings()
    backoff_base_ms: Milliseconds = 1
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    breaker_open_s: Seconds = 30.0
    gather_ms: Milliseconds = 30
    round_max_records: Records = 500
    overload: Literal["expire", "shed"] = "expire"
    lane_queue_records: Records = 5000
    instance: Annotated[str, Field(max_length=100)] = ""
    session_timeout_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 6000
    heartbeat_interval_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 1500
    unacked_limit_s: Seconds = 10.0
    snapshot_interval_s: Seconds = 30.0
    snapshot_records: Records = 20_000
    record_max_bytes: Annotated[int, Field(ge=1024, le=1_048_000)] = 900_000
    max_concurrent_flows: Annotated[int, Field(ge=1)] = 100
    emergency_threshold: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.8
    initial_equity: Annotated[float, Field(gt=0.0, le=1e15, allow_inf_nan=False)] = 1_000_000.0
    control_echo_timeout_s: Seconds = 2.0
    audit_max_lag_s: Annotated[float, Field(ge=0.0, le=86_400.0, allow_inf_nan=False)] = 0.0
    audit_window_s: Seconds = 1.0
    audit_patience_s: Seconds = 5.0
    audit_open_limit_s: Seconds = 600.0
    control_authors: Annotated[tuple[str, ...], NoDecode] = ("operator",)
    upgrade_window_s: Seconds = 600.0
    topic_profile: str = "dev"
    acl_principal: Annotated[str, Field(pattern=r"^[A-Za-z]+:[^*]*\{role\}[^*]*$")] = "User:{role}"
    registry_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = Field(
        default=None, repr=False
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    metrics_host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=-1, le=65_400)] = 0
    metrics_interval_s: Seconds = 1.0
    trace_ratio: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.0
    paper: str = ""
    kafka: dict[str, str | SecretStr] = Field(default_factory=dict, repr=False)
    credentials: Path | None = None
    role: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")] = "operator"
    keys: Path | None = None
    signing_key: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, strongest first."""
        # Replaced by the stricter ones below.
        del env_settings, dotenv_settings, file_secret_settings
        flags = InitSettingsSource(settings_cls, dict(from_flags()))
        yaml_file = InitSettingsSource(settings_cls, from_yaml(settings_cls.model_fields))
        return init_settings, flags, Variables(settings_cls), EnvFile(settings_cls), yaml_file

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        return no_truth_value(value)

    @field_validator("namespace")
    @classmethod
    def _namespace_fits_topic_names(cls, namespace: str) -> str:
        if namespace and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", namespace):
            raise ValueError(
                "Expected letters, digits, '.', '_' and '-', opening with one of the first two"
            )
        return namespace

    @field_validator("broker")
    @classmethod
    def _broker_has_ports(cls, broker: str | None) -> str | None:
        if not broker:
            return None
        if not all(re.fullmatch(r"\S+:\d{1,5}", part) for part in broker.split(",")):
            raise ValueError("Expected host:port, several with commas between")
        return broker

    @field_validator("control_authors", mode="before")
    @classmethod
    def _authors_with_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("kafka", mode="before")
    @classmethod
    def _kafka_properties(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        # Shells take no dots in names, and no property has an underscore.
        properties = {str(key).replace("_", "."): _plain(item) for key, item in value.items()}
        if taken := sorted(_OURS & properties.keys()):
            raise ValueError(f"Expected no {', '.join(taken)}: the engine sets them itself")
        return {
            key: SecretStr(item) if is_secret(key) else item for key, item in properties.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _with_credentials(cls, data: Any) -> Any:
        """Add what the files of `credentials` hold; what is given beside them comes first."""
        if not isinstance(data, dict) or not data.get("credentials"):
            return data
        role = data.get("role") or cls.model_fields["role"].default
        found = secret_files.read(Path(data["credentials"]), str(role))
        given = data.get("kafka") or {}
        if isinstance(given, Mapping):
            named = {str(key).replace("_", "."): item for key, item in given.items()}
            data = {**data, "kafka": {**found.properties, **named}}
        if found.signing_key is not None and not data.get("signing_key"):
            data = {**data, "signing_key": found.signing_key}
        return data

    @model_validator(mode="after")
    def _limits_fit_together(self) -> Self:
        if self.transport_reserve_ms >= self.cascade_timeout_ms:
            raise ValueError("Expected transport_reserve_ms below cascade_timeout_ms")
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError("Expected heartbeat_interval_ms up to a third of session_timeout_ms")
        return self

    def topic(self, name: str) -> str:
        """Return the real name of a topic; `name` is its name in `topics.yaml`."""
        return self._within_namespace(name)

    def group(self, name: str) -> str:
        """Return the real name of a consumer group, or of a client."""
        return self._within_namespace(name)

    def plain_topic(self, real: str) -> str:
        """Return the name without namespace of the topic that is really called `real`."""
        return real.removeprefix(f"{self.namespace}.") if self.namespace else real

    @property
    def gather_s(self) -> float:
        """The longest that the first stage gathers a round, seconds."""
        return min(self.gather_ms, MOST_GATHERED * self.cascade_timeout_ms) / 1000

    def scaled_budget_ms(self, stage: str) -> float:
        """Return a stage's time, milliseconds: its share of what transport leaves.

        budget / (sum of budgets) * (cascade_timeout_ms - transport_reserve_ms)
        """
        total: int = sum(limits.budget_ms for _, limits in self.stages)
        left = self.cascade_timeout_ms - self.transport_reserve_ms
        return self.stages.of(stage).budget_ms * left / total

    def breaker(self, stage: str) -> tuple[int, float]:
        """Return when a stage's breaker opens, failures in a row, and for how long, seconds."""
        limits = self.stages.of(stage)
        failures, open_s = limits.breaker_failures, limits.breaker_open_s
        return (
            self.breaker_failures if failures is None else failures,
            self.breaker_open_s if open_s is None else open_s,
        )

    def client(self, **properties: str | float | bool | None) -> dict[str, Any]:
        """Return the properties of a Kafka client: ours for all, extra ones, then those given.

        Args:
            **properties: librdkafka properties, with `_` for `.`.

        Raises:
            ConfigurationError: If no broker is set.
        """
        if self.broker is None:
            raise ConfigurationError(
                "Expected a Kafka broker, was none. Set CASCADE_BROKER=host:port, or start one"
                " with `cascade broker up`."
            )
        given = {key.replace("_", "."): value for key, value in properties.items()}
        return {**_EVERY_CLIENT, **self.connection(), "bootstrap.servers": self.broker, **given}

    def connection(self) -> dict[str, str]:
        """Return the properties of `kafka` as librdkafka takes them, secrets in the clear."""
        return {
            key: item.get_secret_value() if isinstance(item, SecretStr) else item
            for key, item in self.kafka.items()
        }

    def secrets(self) -> list[str]:
        """Return all that is secret, in the clear: what no log line may hold."""
        return [
            item.get_secret_value() for item in self.kafka.values() if isinstance(item, SecretStr)
        ]

    @property
    def principal(self) -> str:
        """Whom this process is to a broker, as far as its settings tell; for messages."""
        name = self.connection().get("sasl.username")
        return name or f"of role {self.role}"

    def _within_namespace(self, name: str) -> str:
        return f"{self.namespace}.{name}" if self.namespace else name


def _plain(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)
