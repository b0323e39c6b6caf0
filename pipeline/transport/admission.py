"""Whether the broker lets a worker do its work, asked before it joins its group.

A group without the right to read does not say so: it assigns nothing, for ever. So a worker asks
what it may do first, and ends with the right, the topic and the principal where one is lacking.
"""

import logging
from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from pipeline.access import LOGIN_FAILURES, denial, denied, login_refused, metadata
from pipeline.errors import BrokerUnavailable
from pipeline.kafka_logging import ClientLog
from pipeline.settings import Settings
from pipeline.transport.journal import LogSpec

__all__ = ["check_rights", "needed_rights"]

_logger = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
_CONTROL = "cascade.control"
_COORDINATION = "cascade.coordination"
_READ, _WRITE = AclOperation.READ, AclOperation.WRITE


def needed_rights(spec: LogSpec) -> Mapping[str, tuple[AclOperation, ...]]:
    """Return what the owner of a log must be allowed on each topic; names without namespace."""
    return {
        **dict.fromkeys(spec.sources, (_READ,)),
        **dict.fromkeys((spec.log, spec.snapshots), (_READ, _WRITE)),
        **{f"{topic}.dead": (_WRITE,) for topic in spec.sources},
        _CONTROL: (_READ,),
        _COORDINATION: (_READ, _WRITE),
    }


def check_rights(settings: Settings, spec: LogSpec, timeout_s: float = _TIMEOUT_S) -> None:
    """Ask the broker what this worker may do, and compare that with what it must.

    A topic that is not there is passed over: who looks for topics says so.

    Raises:
        AccessDenied: If the login, or a right that it needs, is refused.
        BrokerUnavailable: If the broker does not answer in time.
    """
    refused: list[KafkaError] = []

    def note(error: KafkaError) -> None:
        if error.code() in LOGIN_FAILURES:
            refused.append(error)

    properties = settings.client(client_id=settings.group(f"cascade.{spec.stage}.admission"))
    properties["error_cb"] = note
    admin = AdminClient(properties, logger=ClientLog(_logger))
    try:
        metadata(admin, refused, timeout_s)
        for right, kind, name in _lacking(admin, settings, spec, timeout_s):
            raise denied(right, kind, name, settings.principal)
    except KafkaException as error:
        if refused:
            raise login_refused(
                str(settings.broker), settings.connection(), refused[0].str()
            ) from error
        raise BrokerUnavailable(
            f"Expected the broker at {settings.broker} to say what {settings.principal} may do,"
            f" was: {error.args[0].str()}"
        ) from error


def _lacking(
    admin: AdminClient, settings: Settings, spec: LogSpec, timeout_s: float
) -> Iterator[tuple[str, str, str]]:
    """Yield (right, kind, real name) of what is refused."""
    needed = {settings.topic(name): rights for name, rights in needed_rights(spec).items()}
    asked = admin.describe_topics(
        TopicCollection(list(needed)), include_authorized_operations=True,
        request_timeout=timeout_s,
    )  # fmt: skip
    for real, future in asked.items():
        try:
            allowed = set(future.result().authorized_operations or ())
        except KafkaException as error:
            if denial(error.args[0], "READ", real, settings.principal) is not None:
                yield needed[real][0].name, "topic", real
            elif error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            continue
        for right in needed[real]:
            if not allowed & {right, AclOperation.ALL}:
                yield right.name, "topic", real
    yield from _lacking_group(admin, settings, settings.group(spec.group), timeout_s)


def _lacking_group(
    admin: AdminClient, settings: Settings, group: str, timeout_s: float
) -> Iterator[tuple[str, str, str]]:
    (future,) = admin.describe_consumer_groups(
        [group], include_authorized_operations=True, request_timeout=timeout_s
    ).values()
    try:
        allowed = set(future.result().authorized_operations or ())
    except KafkaException as error:
        if denial(error.args[0], "READ", group, settings.principal) is None:
            return  # a group that nobody has joined yet says nothing of its rights
        yield "READ", "group", group
        return
    if allowed and not allowed & {_READ, AclOperation.ALL}:
        yield "READ", "group", group
