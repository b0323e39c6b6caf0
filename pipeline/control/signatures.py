"""Signatures on control commands: what an unsigned or badly signed one is worth, which is nothing.

Where there is a key ring (`pipeline.keys`), each record of the control log must be signed, those
that halt among them: who may only write to the topic cannot stop trading. What halts without a
signature are the latch, a signal and a call on the machine itself (`pipeline.control.out_of_band`).

A command counts once by its id. Its age is judged by when the broker appended it, which no client
can set: it must lie within the life of the key, and an unsigned record counts where it is older
than the ring.
"""

from dataclasses import dataclass
from typing import Self

from pipeline.control.state import RESTRICTS
from pipeline.errors import SignatureRefused
from pipeline.keys import Purpose, Signer, Verifier
from pipeline.keys.signing import GivenHeaders, Headers
from pipeline.packets.events import ControlCommand
from pipeline.settings import Settings

__all__ = ["CommandCheck", "Forgery", "sign_command"]

_PURPOSES = (Purpose.CONTROL, Purpose.RESTRICT)
# A producer that did not hear of its success writes again within this time.
_AGAIN_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Forgery:
    """A record of the control log that does not count, since its signature does not.

    Attributes:
        reason: Why.
        claimed: The command that it says it is; None where it cannot be read.
        alarming: Whether people should know; not for a writer that wrote the same twice.
    """

    reason: str
    claimed: ControlCommand | None
    alarming: bool = True


class CommandCheck:
    """Checks the records of one reading of a control log, in order and from its start.

    Args:
        verifier: Knows the keys.
        topic: Real name of the control log.
    """

    def __init__(self, verifier: Verifier, topic: str) -> None:
        self._verifier = verifier
        self._topic = topic
        self._taken: dict[str, int] = {}

    @classmethod
    def of(cls, settings: Settings, topic: str) -> Self | None:
        """Return the check by the settings' key ring; None where nothing need be signed.

        Raises:
            ConfigurationError: If the ring cannot be read.
        """
        verifier = Verifier.of(settings)
        return None if verifier is None else cls(verifier, settings.topic(topic))

    def forgery(
        self,
        value: bytes | None,
        headers: GivenHeaders,
        command: ControlCommand | None,
        appended_at: int,
    ) -> Forgery | None:
        """Return why a record does not count; None where its signature does.

        Args:
            value: Its value.
            headers: Its headers.
            command: The command that the value holds; None where it cannot be read.
            appended_at: When the broker appended it, microseconds; 0 where it does not say.
        """
        if 0 < appended_at < self._verifier.required_from:
            return None
        try:
            if not appended_at:
                raise SignatureRefused("Expected the broker's time on the record, was none")
            key = self._verifier.check(self._topic, value, headers, appended_at, _PURPOSES)
        except SignatureRefused as error:
            return Forgery(str(error), command)
        if command is None:  # signed by one of us, of a version that we do not know: it halts
            return None
        lifts = command.kind not in RESTRICTS
        if lifts and key.purpose is not Purpose.CONTROL:
            said = f"Expected {command.kind} signed by a key for control, was {key.id}"
            return Forgery(f"{said} for {key.purpose}", command)
        if lifts and command.author not in key.authors:
            names = ", ".join(key.authors) or "nobody"
            said = f"Expected {command.kind} in the name of {names} with the key {key.id}"
            return Forgery(f"{said}, was {command.author}", command)
        return self._repeated(command, appended_at)

    def _repeated(self, command: ControlCommand, appended_at: int) -> Forgery | None:
        first = self._taken.get(command.command_id)
        if first is not None:
            said = f"Expected each signed command once, was {command.command_id} again"
            return Forgery(said, command, alarming=appended_at - first > _AGAIN_US)
        self._taken[command.command_id] = appended_at
        return None


def sign_command(
    signer: Signer | None, topic: str, command: ControlCommand, value: bytes
) -> Headers:
    """Return the header that signs a command; none where nothing is signed.

    Raises:
        SignatureRefused: If this process has no key for it, or none for its author.
    """
    if signer is None:
        return []
    if command.kind in RESTRICTS:
        return signer.sign(topic, value, *_PURPOSES)
    key = signer.key((Purpose.CONTROL,))
    if command.author not in key.authors:
        names = ", ".join(key.authors) or "nobody"
        raise SignatureRefused(
            f"Expected an author that the key {key.id} may speak for ({names}), was"
            f" {command.author}"
        )
    return signer.sign(topic, value, Purpose.CONTROL)
