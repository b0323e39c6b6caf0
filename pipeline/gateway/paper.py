"""The paper broker: a venue in a file, outside the gateway's memory.

It plays a venue truthfully: what it accepted survives a `kill -9` of the gateway at any instant,
several processes may talk to it at once, and an id that it knows is refused for ever. Orders are
immediate-or-cancel; a slow one works for a while first and can be cancelled meanwhile.

The file is SQLite in WAL mode with `synchronous=NORMAL`: a committed transaction is in the
operating system's hands, so it survives the death of the process. Only a power cut may lose the
newest ones, and then the broker of a single machine, which does not sync each record either, has
lost its own; `FULL` would cost an fsync per order, milliseconds in the submit path, to no avail.
"""

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.errors import ConfigurationError
from pipeline.gateway.fills import PaperBehaviour, chance, fill, venue_order_id
from pipeline.gateway.venue import (
    DuplicateOrder,
    VenueOrder,
    VenueRejected,
    VenueReport,
    VenueState,
    VenueUnknown,
)
from pipeline.packets.vocabulary import OrderType, Side

__all__ = ["PaperBehaviour", "PaperOrder", "PaperVenue", "Submission"]

_VERSION: Final = 1
_BUSY_TIMEOUT_S: Final = 10.0
_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS orders (
        client_order_id TEXT PRIMARY KEY,
        flow_id TEXT NOT NULL,
        account TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity REAL NOT NULL,
        order_type TEXT NOT NULL,
        limit_price REAL NOT NULL,
        reference_price REAL NOT NULL,
        state TEXT NOT NULL,          -- the final one; WORKING until working_until is 0
        filled REAL NOT NULL,
        price REAL NOT NULL,
        fee REAL NOT NULL,
        reason TEXT NOT NULL,
        known_at INTEGER NOT NULL,    -- microseconds since the Unix epoch, UTC
        working_until INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS working ON orders (working_until) WHERE working_until > 0;
    CREATE TABLE IF NOT EXISTS submissions (
        number INTEGER PRIMARY KEY,
        client_order_id TEXT NOT NULL,
        outcome TEXT NOT NULL,        -- accepted, rejected, duplicate or lost
        at INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS attempts ON submissions (client_order_id);
"""


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """An order as the paper broker keeps it.

    Attributes:
        order: The order as it arrived; None for an id cancelled before an order arrived under it.
        report: What became of it.
        attempts: How often it was submitted, refused duplicates and lost requests included.
        known_at: When the broker first knew its id, microseconds since the Unix epoch, UTC.
    """

    order: VenueOrder | None
    report: VenueReport
    attempts: int
    known_at: int


@dataclass(frozen=True, slots=True)
class Submission:
    """One call of `PaperVenue.submit`.

    Attributes:
        client_order_id: The order.
        outcome: accepted, rejected, duplicate, or lost on its way.
        at: When, microseconds since the Unix epoch, UTC.
    """

    client_order_id: str
    outcome: str
    at: int


class PaperVenue:
    """A venue that fills on paper; see `pipeline.gateway.venue.Venue` for its calls.

    Args:
        path: The file; it and its directory are made where missing. On a local disk: SQLite's
            WAL mode shares memory between processes.
        behaviour: How it fills and misbehaves.
        now_us: Wall clock, microseconds since the Unix epoch.
        sleep: Sleeps for seconds; what makes a slow venue slow.

    Raises:
        ConfigurationError: If the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        behaviour: PaperBehaviour | None = None,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._behaviour = behaviour or PaperBehaviour()
        self._now_us = now_us
        self._sleep = sleep
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"Expected a file that the paper broker can write, was {path} ({error}); "
                "give another path, or move the file away"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the orders stay in it."""
        with self._lock:
            self._database.close()

    def submit(self, order: VenueOrder) -> VenueReport:
        """Take an order and fill it; see `Venue.submit`."""
        end = fill(order, self._behaviour)
        working_us = 0 if end.state is VenueState.REJECTED else self._working_us(order)
        outcome = self._receive(order, end, working_us)
        if outcome == "duplicate":
            raise DuplicateOrder(
                f"Expected a new client order id, was {order.client_order_id}, which this venue "
                "knows; query it"
            )
        if outcome == "lost" or self._draw("unknown", order) < self._behaviour.unknown:
            raise VenueUnknown(f"Expected an answer to order {order.client_order_id}, was none")
        if end.state is VenueState.REJECTED:
            raise VenueRejected(end.reason, order.client_order_id, end.venue_order_id)
        if not working_us:
            return end
        self._sleep(working_us / 1e6)
        return self._known(order.client_order_id)

    def cancel(self, client_order_id: str) -> VenueReport:
        """Cancel a working order, or note an unknown id as cancelled; see `Venue.cancel`."""
        with self._transaction() as (database, now):
            database.execute(
                "UPDATE orders SET state = ?, filled = 0, price = 0, fee = 0, reason = ?, "
                "working_until = 0 WHERE client_order_id = ? AND working_until > 0",
                (VenueState.CANCELLED, "CANCELLED_ON_REQUEST", client_order_id),
            )
            database.execute(
                "INSERT INTO orders VALUES (?, '', '', '', ?, 0, ?, 0, 0, ?, 0, 0, 0, ?, ?, 0) "
                "ON CONFLICT DO NOTHING",
                (
                    client_order_id,
                    Side.NONE,
                    OrderType.LIMIT,
                    VenueState.CANCELLED,
                    "CANCELLED_BEFORE_ARRIVAL",
                    now,
                ),
            )
        return self._known(client_order_id)

    def query(self, client_order_id: str) -> VenueReport | None:
        """Return what became of an order, None where the id is unknown; see `Venue.query`."""
        with self._transaction() as (database, _):
            row = database.execute(
                "SELECT * FROM orders WHERE client_order_id = ?", (client_order_id,)
            ).fetchone()
        return None if row is None else _report(row)

    def open_orders(self) -> list[VenueReport]:
        """Return the slow orders that still work, oldest first; see `Venue.open_orders`."""
        with self._transaction() as (database, _):
            rows = database.execute(
                "SELECT * FROM orders WHERE working_until > 0 ORDER BY known_at, rowid"
            ).fetchall()
        return [_report(row) for row in rows]

    def orders(self) -> list[PaperOrder]:
        """Return every id this broker knows, oldest first, with how often it was submitted."""
        with self._transaction() as (database, _):
            rows = database.execute(
                "SELECT *, (SELECT count(*) FROM submissions WHERE "
                "submissions.client_order_id = orders.client_order_id) AS attempts "
                "FROM orders ORDER BY known_at, rowid"
            ).fetchall()
        return [_paper_order(row) for row in rows]

    def submissions(self) -> list[Submission]:
        """Return every call of `submit` there ever was, in order."""
        with self._transaction() as (database, _):
            rows = database.execute(
                "SELECT client_order_id, outcome, at FROM submissions ORDER BY number"
            ).fetchall()
        return [Submission(*row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Run a block in one transaction that has all of the file to itself; gives the time too.

        Orders whose working time is over are settled first, so that a clock that is set back
        later does not set them to work again.
        """
        with self._lock, _answering():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                now = self._now_us()
                self._database.execute(
                    "UPDATE orders SET working_until = 0 "
                    "WHERE working_until > 0 AND working_until <= ?",
                    (now,),
                )
                yield self._database, now
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk has SQLite roll back by itself
                    self._database.execute("ROLLBACK")
                raise

    def _receive(self, order: VenueOrder, end: VenueReport, working_us: int) -> str:
        """Note a submit and, where it arrived and is new, the order; return what it came to."""
        with self._transaction() as (database, now):
            name = (order.client_order_id,)
            (attempt,) = database.execute(
                "SELECT count(*) FROM submissions WHERE client_order_id = ?", name
            ).fetchone()
            if self._draw("lost", order, attempt) < self._behaviour.lost:
                outcome = "lost"
            elif database.execute(
                "SELECT 1 FROM orders WHERE client_order_id = ?", name
            ).fetchone():
                outcome = "duplicate"
            else:
                outcome = "rejected" if end.state is VenueState.REJECTED else "accepted"
                _insert(database, order, end, now, now + working_us if working_us else 0)
            database.execute(
                "INSERT INTO submissions (client_order_id, outcome, at) VALUES (?, ?, ?)",
                (order.client_order_id, outcome, now),
            )
        return outcome

    def _known(self, client_order_id: str) -> VenueReport:
        report = self.query(client_order_id)
        if report is None:  # nothing deletes orders, so somebody took the file away
            raise VenueUnknown(
                f"Expected order {client_order_id} in the paper broker's file, was gone; "
                "put the file back"
            )
        return report

    def _draw(self, what: str, order: VenueOrder, attempt: int = 0) -> float:
        return chance(what, order.client_order_id, attempt)

    def _working_us(self, order: VenueOrder) -> int:
        slow = self._draw("slow", order) < self._behaviour.slow
        return self._behaviour.slow_ms * 1000 if slow else 0


def _open(path: Path) -> sqlite3.Connection:
    # The gateway may call from a pool of threads; `PaperVenue` has a lock around every use.
    database = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    database.row_factory = sqlite3.Row
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"written by another version, format {version}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _answering() -> Iterator[None]:
    """Turn a file that does not answer in time into what a venue that does not answer means."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise VenueUnknown(
            f"Expected the paper broker's file to answer, was: {error}; the order stays in flight"
        ) from error


def _insert(
    database: sqlite3.Connection,
    order: VenueOrder,
    end: VenueReport,
    now: int,
    working_until: int,
) -> None:
    database.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            order.client_order_id,
            order.flow_id,
            order.account,
            order.symbol,
            order.side,
            _storable(order.quantity),
            order.order_type,
            _storable(order.limit_price),
            _storable(order.reference_price),
            end.state,
            end.filled,
            end.price,
            end.fee,
            end.reason,
            now,
            working_until,
        ),
    )


def _storable(number: float) -> float:
    """Return a number for a column that takes no NaN; such an order was refused anyway."""
    return 0.0 if math.isnan(number) else number


def _report(row: sqlite3.Row) -> VenueReport:
    name = row["client_order_id"]
    if row["working_until"]:
        return VenueReport(name, venue_order_id(name), VenueState.WORKING, 0.0, 0.0, 0.0)
    return VenueReport(
        name,
        venue_order_id(name),
        VenueState(row["state"]),
        row["filled"],
        row["price"],
        row["fee"],
        row["reason"],
    )


def _paper_order(row: sqlite3.Row) -> PaperOrder:
    order = VenueOrder(
        row["client_order_id"],
        row["flow_id"],
        row["account"],
        row["symbol"],
        Side(row["side"]),
        row["quantity"],
        OrderType(row["order_type"]),
        row["limit_price"],
        row["reference_price"],
    )
    arrived = bool(row["flow_id"])
    return PaperOrder(order if arrived else None, _report(row), row["attempts"], row["known_at"])
