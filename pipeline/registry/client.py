"""The registry's REST API, through Confluent's own client, its errors as ours."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.errors import ConfigurationError, RegistryUnavailable
from pipeline.settings import Settings

__all__ = ["COMPATIBILITY", "Registry"]

COMPATIBILITY = "BACKWARD_TRANSITIVE"
"""What every subject is held to: old packets must replay under new code."""

_NOT_FOUND = 404
_CONFLICT = 409
_UNPROCESSABLE = 422
_TIMEOUT_S = 5.0
_T = TypeVar("_T")


class Registry:
    """A schema registry; thread-safe.

    Args:
        settings: Its address, `CASCADE_REGISTRY_URL`.
        timeout_s: For each request.

    Raises:
        ConfigurationError: If none is configured, or the client's packages are not installed.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = _TIMEOUT_S) -> None:
        if not settings.registry_url:
            raise ConfigurationError(
                "Expected a schema registry, was none. Set CASCADE_REGISTRY_URL=http://host:port."
            )
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            raise ConfigurationError(
                f"Expected the packages of the registry's client, was: {error}. They come with the"
                " extra `registry`: pip install 'marl-cascade[registry]'."
            ) from error
        self._client: Any = SchemaRegistryClient(
            {"url": settings.registry_url, "timeout": timeout_s, "max.retries": 0}
        )

    def schema(self, schema_id: int) -> Any | None:
        """Return the schema of an id as JSON has it; None where there is none.

        Raises:
            RegistryUnavailable: If the registry does not answer.
            ConfigurationError: If it refuses.
        """
        found = self._asked(lambda: self._client.get_schema(schema_id), (_NOT_FOUND,))
        return None if found is None else json.loads(found.schema_str)

    def versions(self, subject: str) -> list[int]:
        """Return the versions of a subject; none where it is not known.

        Raises:
            RegistryUnavailable, ConfigurationError: As `schema`.
        """
        return self._asked(lambda: self._client.get_versions(subject), (_NOT_FOUND,)) or []

    def id_of(self, subject: str, schema: Any) -> int | None:
        """Return the id of a schema under a subject; None where it is not registered.

        Raises:
            RegistryUnavailable, ConfigurationError: As `schema`.
        """
        found = self._asked(
            lambda: self._client.lookup_schema(subject, _theirs(schema)), (_NOT_FOUND,)
        )
        return None if found is None else int(found.schema_id)

    def compatible(self, subject: str, schema: Any) -> bool:
        """Return whether a schema reads all versions of a subject, as the registry sees it.

        Raises:
            RegistryUnavailable, ConfigurationError: As `schema`.
        """
        if not self.versions(subject):
            return True
        found = self._asked(
            lambda: self._client.test_compatibility_all_versions(subject, _theirs(schema)),
            (_NOT_FOUND, _CONFLICT),
        )
        return bool(found)

    def register(self, subject: str, schema: Any) -> int:
        """Hold a subject to `COMPATIBILITY`, give it the schema, and return the schema's id.

        Raises:
            RegistryUnavailable: If the registry does not answer.
            ConfigurationError: If it refuses, as it does with a schema that is not compatible.
        """
        self._asked(lambda: self._client.set_compatibility(subject, COMPATIBILITY))
        found = self._asked(lambda: self._client.register_schema(subject, _theirs(schema)))
        return int(found)

    @staticmethod
    def _asked(ask: Callable[[], _T], none_at: tuple[int, ...] = ()) -> Any:
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code in none_at:
                return None
            raise ConfigurationError(
                f"Expected the schema registry to agree, was: {error.error_message}"
                f" (HTTP {error.http_status_code})"
            ) from error
        except Exception as error:  # the client hands on whatever its HTTP library raises
            raise RegistryUnavailable(
                f"Expected an answer of the schema registry, was: {error}. Check"
                " CASCADE_REGISTRY_URL."
            ) from error


def _theirs(schema: Any) -> Any:
    from confluent_kafka.schema_registry import Schema

    return Schema(json.dumps(schema), "AVRO")
