"""What a broker refuses, as an error that names the right, the topic and the principal."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from pipeline.errors import AccessDenied

__all__ = ["LOGIN_FAILURES", "denial", "denied", "login_refused", "metadata"]

_LOOK_S = 2.0

LOGIN_FAILURES = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001  # spelled so
        KafkaError._SSL,  # noqa: SLF001  # spelled so
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
"""What clients say of a login, or of a TLS handshake, that cannot succeed as it is."""

_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional id",
}


def denied(right: str, kind: str, name: str, principal: str) -> AccessDenied:
    """Return the error of a right that is lacking.

    Args:
        right: WRITE, READ, DESCRIBE and so on.
        kind: topic, group or cluster.
        name: Its real name.
        principal: Who lacks it.
    """
    return AccessDenied(
        f"Expected the principal {principal} to have {right} on the {kind} {name}, was refused."
        " Whoever runs the broker grants it; `cascade topics plan` lists what each role needs."
    )


def denial(error: KafkaError, right: str, name: str, principal: str) -> AccessDenied | None:
    """Return the error of an operation that a broker refused; None for any other failure.

    Args:
        error: What the client says.
        right: The right that the operation needs.
        name: Real name of the topic or group.
        principal: Who lacks it; see `Settings.principal`.
    """
    kind = _REFUSED.get(error.code())
    return None if kind is None else denied(right, kind, name, principal)


def login_refused(bootstrap: str, properties: Mapping[str, str], why: str) -> AccessDenied:
    """Return the error of a login that a broker refused, or of a handshake that failed.

    Args:
        bootstrap: The broker.
        properties: Those of the connection; nothing secret of them is told.
        why: What the client says.
    """
    protocol = properties.get("security.protocol", "plaintext").upper()
    mechanism = properties.get("sasl.mechanism") or properties.get("sasl.mechanisms", "")
    how = " ".join(filter(None, (protocol, mechanism)))
    name = properties.get("sasl.username") or properties.get("sasl.oauthbearer.client.id")
    who = f"the principal {name}" if name else "this client"
    return AccessDenied(
        f"Expected the broker at {bootstrap} to let {who} in by {how}, was: {why}. Correct"
        " CASCADE_KAFKA__* or the credentials."
    )


def metadata(
    admin: AdminClient, refused: Sequence[KafkaError], timeout_s: float
) -> ClusterMetadata:
    """Return what a broker says of its cluster, waiting no longer once it refused the login.

    A client goes on trying for ever, and tells of a refusal only who polls it.

    Args:
        admin: The client.
        refused: Where its `error_cb` puts `LOGIN_FAILURES`.
        timeout_s: Longest time to wait, seconds.

    Raises:
        KafkaException: If there was no answer.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        left_s = deadline_s - time.monotonic()
        try:
            return admin.list_topics(timeout=max(0.1, min(left_s, _LOOK_S)))
        except KafkaException:
            admin.poll(0)
            if refused or left_s <= _LOOK_S:
                raise
