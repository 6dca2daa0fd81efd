"""The ledger: what clients sent, and the responses, compared with what is stored afterwards.

Each event has an id in its context. An acknowledged event must be stored once. An event that is stored without an
acknowledgement must come from a request whose connection broke, before or behind a proxy.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.pace import SOAK, slack

CLIENTS = 8
PAUSE_SECONDS = 0.0 if SOAK else 0.04  # of a client between two batches, because most faults do not need load
ANSWER_SECONDS = 40
UNKNOWN = b"with the same Idempotency-Key"  # in a 503 of the service that does not know whether the events are stored
# No answer, or one of a proxy whose connection to the service broke (502) or hung (504), so nobody knows the outcome.
IN_DOUBT = (None, 502, 504)


@dataclass
class Sent:
    """A batch and its response; the status is None if the connection broke."""

    key: str
    ids: list[str]
    status: int | None = None
    answer: bytes = b""
    replayed: bool = False


@dataclass
class Ledger:
    """Everything that was sent in a test."""

    batches: list[Sent] = field(default_factory=list)

    def ids(self, *statuses: int | None) -> set[str]:
        """Return the ids of the events with one of these statuses."""
        return {one for batch in self.batches if batch.status in statuses for one in batch.ids}

    def balance(self, stored: Iterable[str]) -> Balance:
        """Compare with the ids in the store."""
        counts = Counter(stored)
        acknowledged, in_doubt = self.ids(200), self.ids(*IN_DOUBT)
        return Balance(
            acknowledged=len(acknowledged),
            missing=len(acknowledged - counts.keys()),
            twice=sum(number > 1 for number in counts.values()),
            unacknowledged=len(counts.keys() - acknowledged - in_doubt),
            broken=len(in_doubt & counts.keys()),
        )


@dataclass(frozen=True)
class Balance:
    """Result of the comparison, as numbers of events."""

    acknowledged: int
    missing: int  # acknowledged, but not stored
    twice: int  # stored more than once
    unacknowledged: int  # stored although the client got an error
    broken: int  # stored, but the connection broke before the response

    def check(self) -> None:
        """Fail if a promise was broken."""
        print(self)
        assert self.acknowledged > 0
        assert (self.missing, self.twice, self.unacknowledged) == (0, 0, 0), self


class Load:
    """Clients that send batches in sequence until they are stopped, as a context manager."""

    def __init__(
        self,
        port: int,
        ledger: Ledger,
        *,
        keys: bool = False,
        pause: float = PAUSE_SECONDS,
        patience: float = ANSWER_SECONDS,
    ) -> None:
        self._port = port
        self._ledger = ledger
        self._keys = keys
        self._pause = pause
        self._patience = patience
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._patience + 10)
            assert not thread.is_alive(), "a request hung"

    def until_acknowledged(self, more: int, seconds: float = 30) -> None:
        """Wait until this many more batches were acknowledged."""
        goal = self._acknowledged() + more
        began = time.monotonic()
        while self._acknowledged() < goal:
            waited = time.monotonic() - began
            assert waited < seconds or waited < slack(seconds), f"not {more} more batches within {waited:.0f} s"
            time.sleep(0.02)

    def _acknowledged(self) -> int:
        return sum(batch.status == 200 for batch in list(self._ledger.batches))

    def _client(self) -> None:
        for size in itertools.cycle((1, 7, 50)):
            if self._stop.is_set():
                return
            batch = Sent(uuid.uuid4().hex, [uuid.uuid4().hex for _ in range(size)])
            send(self._port, batch, key=self._keys, patience=self._patience)
            self._ledger.batches.append(batch)
            time.sleep(self._pause if batch.status == 200 else 0.05)


def send(port: int, batch: Sent, *, key: bool, patience: float = ANSWER_SECONDS) -> None:
    """POST a batch, and record its response."""
    events = [
        {"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 1_793_000_000_000, "context": [one]}
        for one in batch.ids
    ]
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": batch.key} if key else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request("POST", "/events", json.dumps(events), headers)
        response = connection.getresponse()
        batch.answer = response.read()
        batch.replayed = response.headers.get("Idempotency-Replayed") == "true"
        batch.status = None if UNKNOWN in batch.answer else response.status
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException):
        batch.status = None
    finally:
        connection.close()
