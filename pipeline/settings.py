"""Settings: one frozen object, filled from several places.

Precedence: constructor, environment (`CASCADE_*`, nested with `__`), `.env`, the YAML file named
by `CASCADE_CONFIG`, default. A key that no setting has is refused wherever it stands, since a
misspelt limit is no limit.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline import __version__
from pipeline.errors import ConfigurationError
from pipeline.yaml_file import load_mapping

__all__ = [
    "ENV_FILE",
    "Settings",
    "StageSettings",
    "Stages",
    "build_hash",
    "describe",
    "load_settings",
]

ENV_FILE = ".env"
_PREFIX = "CASCADE_"
_CONFIG = "CASCADE_CONFIG"
_SECRET = re.compile(
    r"password|secret|token|credential|\.pem$|jaas|oauthbearer\.config|basic\.auth"
)
_HIDDEN = "********"

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
Seconds = Annotated[float, Field(gt=0.0, le=86_400.0)]
Records = Annotated[int, Field(ge=1, le=10_000_000)]


class StageSettings(BaseModel):
    """Limits of one stage.

    Attributes:
        budget_ms: Share of the cascade timeout, milliseconds; see `Settings.scaled_budget_ms`.
        retries: Retries of a record that failed, beyond the first attempt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)]
    retries: Annotated[int, Field(ge=0, le=100)] = 2


class _Strategic(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 30


class _Tactical(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 20


class _Risk(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 25
    retries: Annotated[int, Field(ge=0, le=100)] = 3


class _Execution(StageSettings):
    budget_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 25


class Stages(BaseModel):
    """Limits of the four stages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategic: _Strategic = _Strategic()
    tactical: _Tactical = _Tactical()
    risk: _Risk = _Risk()
    execution: _Execution = _Execution()

    def of(self, stage: str) -> StageSettings:
        """Return the limits of a stage.

        Raises:
            ConfigurationError: If there is no such stage.
        """
        found = getattr(self, stage, None)
        if not isinstance(found, StageSettings):
            names = ", ".join(type(self).model_fields)
            raise ConfigurationError(f"Expected a stage of {names}, was {stage!r}")
        return found


class _EnvFile(DotEnvSettingsSource):
    """`.env` without the keys of other programs; ours are checked in `load_settings`."""

    def __call__(self) -> dict[str, Any]:
        return EnvSettingsSource.__call__(self)


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
        backoff_base_ms: First pause before a retry; doubles each time.
        breaker_failures: Failures in a row that open a policy's breaker.
        breaker_open_s: How long it stays open before it probes.
        round_max_records: Most records of one round.
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
        initial_equity: Cash of the account before the first fill.
        control_echo_timeout_s: Without a sign of the broker for this long: HALTED.
        control_authors: Who may bootstrap and resume; with commas between in the environment. A
            name is a claim: who can write to the control log at all is for the broker's ACLs.
        topic_profile: Profile of `topics.yaml` that topics are created with.
        log_level: Least level that is logged.
        paper: How the paper broker misbehaves, e.g. `partial=0.1,reject=0.05,slow_ms=200`; see
            `pipeline.gateway.fills.PaperBehaviour`.
        kafka: More librdkafka properties, e.g. for TLS and SASL; in the environment
            `CASCADE_KAFKA__SECURITY_PROTOCOL=SASL_SSL`.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
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
    backoff_base_ms: Milliseconds = 1
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    breaker_open_s: Seconds = 30.0
    round_max_records: Records = 500
    lane_queue_records: Records = 5000
    instance: Annotated[str, Field(max_length=100)] = ""
    session_timeout_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 6000
    heartbeat_interval_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 1500
    unacked_limit_s: Seconds = 10.0
    snapshot_interval_s: Seconds = 30.0
    snapshot_records: Records = 20_000
    record_max_bytes: Annotated[int, Field(ge=1024, le=1_048_000)] = 900_000
    max_concurrent_flows: Annotated[int, Field(ge=1)] = 100
    initial_equity: Annotated[float, Field(gt=0.0, le=1e15, allow_inf_nan=False)] = 1_000_000.0
    control_echo_timeout_s: Seconds = 2.0
    control_authors: Annotated[tuple[str, ...], NoDecode] = ("operator",)
    topic_profile: str = "dev"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    paper: str = ""
    kafka: dict[str, str] = Field(default_factory=dict, repr=False)

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
        del dotenv_settings, file_secret_settings  # replaced by the stricter ones below
        env_file = _EnvFile(settings_cls)
        yaml_file = InitSettingsSource(settings_cls, _from_yaml())
        return init_settings, env_settings, env_file, yaml_file

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
        return properties

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

    def scaled_budget_ms(self, stage: str) -> float:
        """Return a stage's time, milliseconds: its share of what transport leaves.

        budget / (sum of budgets) * (cascade_timeout_ms - transport_reserve_ms)
        """
        names = type(self.stages).model_fields
        total = sum(self.stages.of(name).budget_ms for name in names)
        left = self.cascade_timeout_ms - self.transport_reserve_ms
        return self.stages.of(stage).budget_ms * left / total

    def client(self, **properties: str | float | bool | None) -> dict[str, Any]:
        """Return the properties of a Kafka client: broker, extra ones, then those given.

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
        return {**self.kafka, "bootstrap.servers": self.broker, **given}

    def _within_namespace(self, name: str) -> str:
        return f"{self.namespace}.{name}" if self.namespace else name


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force, `overrides` before all other places.

    Raises:
        ConfigurationError: An unknown key, or a value that cannot work; says which and where.
    """
    _refuse_unknown(os.environ, "the environment")
    _refuse_unknown(_env_file(), ENV_FILE)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(_sentence(dict(fault)) for fault in error.errors())
        raise ConfigurationError(f"Settings cannot work: {faults}") from error
    except ValueError as error:  # a value of the environment that should be JSON and is not
        raise ConfigurationError(f"Settings cannot work: {error}") from error


def describe(settings: Settings, **overrides: Any) -> dict[str, tuple[Any, str]]:
    """Return each setting by its dotted name as (value, where it comes from), secrets hidden.

    Args:
        settings: What `load_settings(**overrides)` returned.
        **overrides: The same overrides.
    """
    places = (
        ("constructor", _flatten(overrides)),
        ("environment", _flatten(EnvSettingsSource(Settings)())),
        (ENV_FILE, _flatten(_EnvFile(Settings)())),
        (os.environ.get(_CONFIG, ""), _flatten(_from_yaml())),
    )
    values = _flatten(settings.model_dump(mode="json"))
    return {name: (_hide(name, value), _place(name, places)) for name, value in values.items()}


def build_hash(settings: Settings, stage: str) -> str:
    """Return 16 hexadecimal digits that change with whatever may change a stage's decisions.

    Hashed are the version, the sources of packets, policies and stages, and the settings that
    decisions depend on.
    """
    relevant = settings.model_dump_json(
        include={
            "account": True,
            "cascade_timeout_ms": True,
            "transport_reserve_ms": True,
            "clock": True,
            "initial_equity": True,
            "stages": True,
        }
    )
    parts = (__version__, stage, relevant, _sources_hash(Path(__file__).resolve().parent))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


@lru_cache(maxsize=4)
def _sources_hash(package: Path) -> str:
    digest = hashlib.sha256()
    for folder in ("packets", "policies", "stages"):
        for path in sorted((package / folder).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()}\x1f{len(content)}\x1f".encode())
            digest.update(content)
    return digest.hexdigest()


def _from_yaml() -> dict[str, Any]:
    """Return the settings of the YAML file; its section `cascade:` counts as the top."""
    path = os.environ.get(_CONFIG)
    if not path:
        return {}
    content = load_mapping(Path(path))
    section = content.pop("cascade", None) or {}
    if not isinstance(section, dict):
        raise ConfigurationError(f"Expected a mapping under `cascade` at {path}, was {section!r}")
    if "timeout_ms" in section:
        section["cascade_timeout_ms"] = section.pop("timeout_ms")
    if twice := sorted(content.keys() & section.keys()):
        raise ConfigurationError(f"Expected each key once, was {', '.join(twice)} twice, at {path}")
    merged = {**content, **section}
    if unknown := sorted(merged.keys() - Settings.model_fields.keys()):
        raise ConfigurationError(_unknown(unknown, path))
    return merged


def _env_file() -> Mapping[str, str | None]:
    return dotenv_values(ENV_FILE) if Path(ENV_FILE).is_file() else {}


def _refuse_unknown(variables: Mapping[str, Any], place: str) -> None:
    known = {_CONFIG, *(_variable(name) for name in Settings.model_fields)}
    ours = [name for name in variables if name.upper().startswith(_PREFIX)]
    if unknown := sorted(name for name in ours if name.upper().split("__")[0] not in known):
        raise ConfigurationError(_unknown(unknown, place))


def _variable(name: str) -> str:
    return name.upper() if name.upper().startswith(_PREFIX) else _PREFIX + name.upper()


def _unknown(keys: list[str], place: str) -> str:
    known = ", ".join(Settings.model_fields)
    return f"Expected settings of {known}; was {', '.join(keys)}, at {place}. Correct or remove it."


def _sentence(fault: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in fault["loc"]) or "settings"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"Expected no setting {name}, was one; see `cascade config show` for the names"
    if not fault["loc"]:
        return message
    return f"{name}: {message}, was {_hide(name, fault.get('input'))!r}"


def _place(name: str, places: tuple[tuple[str, dict[str, Any]], ...]) -> str:
    for place, found in places:
        if name in found:
            return place
    return "default"


def _flatten(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, BaseModel):
            flat |= _flatten(value.model_dump(), f"{name}.")
        elif isinstance(value, Mapping):
            dotted = {str(k).replace("_", "."): v for k, v in value.items()}
            flat |= _flatten(dotted if name == "kafka" else value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _hide(name: str, value: Any) -> Any:
    """Return `value`, or stars where it is a secret, or may hold one."""
    if name == "kafka" or (name.startswith("kafka.") and _SECRET.search(name)):
        return _HIDDEN
    return value


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
