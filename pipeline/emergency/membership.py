"""Who must answer a command: the members of the consumer groups, as the broker counts them."""

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.control.scope import STAGES
from pipeline.kafka_logging import ClientLog
from pipeline.settings import Settings

__all__ = ["LiveWorkers"]

_logger = logging.getLogger(__name__)


class LiveWorkers:
    """Counts the live workers of each stage.

    A worker that died counts until the broker has noticed, `session_timeout_ms` later: until then
    nobody knows that it will not go on.

    Args:
        settings: Broker and namespace.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None

    def count(self, stages: Iterable[str] = STAGES, timeout_s: float = 5.0) -> Mapping[str, int]:
        """Return the live workers by stage; stages without any are left out.

        A stage that the broker does not answer for counts as one worker: somebody may be there.
        """
        if self._admin is None:
            properties = self._settings.client(client_id=self._settings.group("command"))
            self._admin = AdminClient(properties, logger=ClientLog(_logger))
        groups = {self._settings.group(f"cascade.{stage}"): stage for stage in stages}
        if not groups:
            return {}
        asked = self._admin.describe_consumer_groups(list(groups), request_timeout=timeout_s)
        counts = {}
        for group, future in asked.items():
            try:
                counts[groups[group]] = len(future.result(timeout_s + 1.0).members)
            except KafkaException as error:
                if error.args[0].name() != "GROUP_ID_NOT_FOUND":
                    _logger.warning("members of %s are not known: %s", group, error)
                    counts[groups[group]] = 1
            except TimeoutError:
                counts[groups[group]] = 1
        return {stage: count for stage, count in counts.items() if count}
