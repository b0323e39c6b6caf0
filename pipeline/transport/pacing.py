"""How long to gather records before they become a round.

Each round costs two hand-overs between threads, some hundred numpy calls and a request to the
broker, in its stage and in all after it. So the busier a worker is, the longer its rounds wait for
more records, and an idle one waits not at all. The first stage gathers for all: a round comes to
the others as it left the one before.
"""

from dataclasses import dataclass

__all__ = ["Pacing"]

_SHARE = 9.0  # the first stage's work is about a fifth of what a round costs in all places


@dataclass(slots=True)
class Pacing:
    """Keeps hand-overs apart by nine times what a round takes to work off.

    So the first stage is busy for a tenth of its time, and all that its rounds set off for about
    half of one core's, until rounds reach their longest wait; from there on by as much as must be.

    Attributes:
        limit_s: The longest wait.
        last_s: Monotonic time of the last hand-over.
    """

    limit_s: float
    last_s: float = float("-inf")

    def wait_s(self, now_s: float, work_s: float) -> float:
        """Return how long records that came at `now_s` wait for more.

        Args:
            now_s: Monotonic time.
            work_s: How long recent rounds took.
        """
        return max(0.0, self.last_s + min(self.limit_s, _SHARE * work_s) - now_s)
