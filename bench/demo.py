"""Demo data: a month of made-up events, posted through the public API.

    python -m bench.demo [--url http://127.0.0.1:8000] [--events 50000] [--days 30]

Customers, products, types and the names of their context items come from the sample catalog. The local service gets it,
too, if its own catalog is empty and no --url is given. The events follow the hours of the day and the days of the week,
some types are frequent and others rare, and a few strings break careless exports.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from app import create_app
from app.config import Settings
from app.exceptions import SettingInvalid
from app.store.database import upgrade

CATALOG = Path(__file__).parents[1] / "app" / "catalog.sample.json"
BATCH_EVENTS = 500
ANSWER_SECONDS = 30
HOUR = 3_600_000  # milliseconds
DAY = 24 * HOUR

# share of a working day's peak at each hour, UTC, for offices in Europe and then in America
HOURS = (3, 2, 2, 2, 3, 6, 14, 32, 58, 72, 74, 70, 66, 78, 95, 100, 98, 90, 72, 50, 30, 18, 10, 5)
SATURDAY, SUNDAY = 0.25, 0.18  # share of a working day
WEIGHTS = {"customers": (6, 3, 1), "products": (6, 3, 2)}  # of the catalog's, in its order
SYMBOLS = ("AAPL", "MSFT", "NVDA", "SAP", "NESN", "ASML", "BTCUSD", "ZCZ26", "BRK.B", "^SPX")
VALUES: Mapping[str, Sequence[str | None]] = {
    "viewName": ("Overview", "Positions", "Performance", "Dividends", "News", "Settings"),
    "previousViewName": ("Overview", "Positions", "Performance", None),
    "symbol": SYMBOLS,
    "currency": ("USD", "EUR", "GBP", "CHF", "JPY"),
    "format": ("csv", "pdf", "xlsx"),
    "sortedBy": ("symbol", "change", "volume", "name"),
    "direction": ("up", "down"),
    "condition": ("above", "below", "moves by"),
    "channel": ("email", "push", "sms", None),
}
AWKWARD = (
    'said "sell", then left',
    "profit | loss",
    "two\nlines",
    "naïve café – Zürich",
    "مرحبا بالعالم",
    "日本株 📈",
    "=SUM(A1:A9)",
    "  spaces  ",
    "",
)
ONE_IN = 200  # awkward context items
VERSIONS = ("2.9.1", "3.4.0", "4.0.2", "5.2.0", "6.0.0", "6.1.3", None)
VERSION_WEIGHTS = (1, 2, 4, 8, 20, 30, 3)


class DemoFailed(Exception):
    """The service is unavailable or rejects the events; the message is for people."""


@dataclass(frozen=True)
class Stream:
    """The made-up clients: what they may send, and how often."""

    catalog: Mapping[str, Sequence[Mapping[str, object]]]
    chance: random.Random

    def events(self, count: int, days: int, now: int) -> Iterator[dict[str, object]]:
        """Yield `count` events of the `days` before `now` (milliseconds), oldest first."""
        for timestamp in self._timestamps(count, days, now):
            yield self._event(timestamp)

    def _timestamps(self, count: int, days: int, now: int) -> list[int]:
        starts = [now - hour * HOUR for hour in range(days * 24, 0, -1)]
        hours = self.chance.choices(starts, [_activity(start) for start in starts], k=count)
        return sorted(hour + self.chance.randrange(HOUR) for hour in hours)

    def _event(self, timestamp: int) -> dict[str, object]:
        customer = self.chance.choices(self.catalog["customers"], WEIGHTS["customers"])[0]
        product = self.chance.choices(self.catalog["products"], WEIGHTS["products"])[0]
        kinds = [kind for kind in self.catalog["types"] if kind["product"] == product["code"]]
        kind = self.chance.choices(kinds, [1 / rank for rank in range(1, len(kinds) + 1)])[0]
        event = {"customer": customer["code"], "product": product["code"], "type": kind["code"]}
        version = self.chance.choices(VERSIONS, VERSION_WEIGHTS)[0]
        context = [self._value(name) for name in kind["context"]]
        return event | ({"version": version} if version else {}) | {"timestamp": timestamp, "context": context}

    def _value(self, name: str) -> str | None:
        if self.chance.randrange(ONE_IN) == 0:
            return self.chance.choice(AWKWARD)
        if name in VALUES:
            return self.chance.choice(VALUES[name])
        if name.endswith("Id"):
            # squared, so that a few people and lists are frequent
            return f"{name.removesuffix('Id')}-{int(self.chance.random() ** 2 * 40) + 1}"
        return str(self.chance.randrange(1, 500))


def _activity(timestamp: int) -> float:
    weekday = (timestamp // DAY + 3) % 7  # 1 January 1970 was a Thursday
    return HOURS[timestamp // HOUR % 24] * {5: SATURDAY, 6: SUNDAY}.get(weekday, 1.0)


class Client:
    """A persistent connection to the service."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(self._url)
        self._path = f"{parts.path}/events"
        self._connection = _connection(parts)

    def post(self, events: Sequence[Mapping[str, object]]) -> None:
        """Post a batch.

        Raises:
            DemoFailed: the service is unavailable, or the response is not 200.
        """
        body = json.dumps({"events": events}).encode()
        try:
            self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"No Tally answers at {self._url} ({_reason(error)}). Start it: make run.") from error
        if answer.status != 200:
            said = text[:500].decode(errors="replace").strip()
            raise DemoFailed(f"{self._url} refused the events: {answer.status} {answer.reason}. It said: {said}")


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    try:
        return kinds[parts.scheme](parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    except (KeyError, ValueError):
        raise DemoFailed(f"{parts.geturl()} is not an address such as http://127.0.0.1:8000.") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def post_all(client: Client, stream: Iterator[dict[str, object]], count: int) -> None:
    """Post `count` events in batches, and print the progress."""
    sent = 0
    while batch := list(islice(stream, BATCH_EVENTS)):
        client.post(batch)
        sent += len(batch)
        _tell(f"Posted {sent:,} of {count:,} events", done=sent == count)


def _tell(line: str, done: bool) -> None:
    if sys.stdout.isatty():
        print(f"\r{line}", end="\n" if done else "", flush=True)
    elif done:
        print(line)


def demo(url: str, count: int, days: int) -> None:
    """Post the demo's events to the service at `url`.

    Raises:
        DemoFailed: the service is unavailable, or rejects the events.
    """
    began = time.monotonic()
    catalog = json.loads(CATALOG.read_text(encoding="utf-8"))
    now = time.time_ns() // 1_000_000
    stream = Stream(catalog, random.Random())
    post_all(Client(url), stream.events(count, days, now), count)
    print(f"{days} days of made-up events in {time.monotonic() - began:.1f} s. See them: {url.rstrip('/')}/admin/")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description="Post a month of made-up events.")
    parser.add_argument("--url", help="where the service is (default: PUBLIC_URL, else HOST and PORT)")
    parser.add_argument("--events", type=int, default=50_000, help="how many (default: 50000)")
    parser.add_argument("--days", type=int, default=30, help="over how many days up to now (default: 30)")
    arguments = parser.parse_args()
    if arguments.events < 1 or not 1 <= arguments.days <= 3650:
        parser.error("--events is at least 1, --days from 1 to 3650")
    return arguments


def _own(settings: Settings) -> str:
    """Return the URL of the service of these settings, and fill its catalog if it is empty."""
    catalog = create_app(settings).extensions["services"].catalog
    upgrade()
    if catalog.is_empty():
        catalog.load_sample()
    elif missing := len(_codes(json.loads(CATALOG.read_text(encoding="utf-8"))) - _codes(catalog.export())):
        print(f"The catalog was kept; {missing} demo codes are not in it.")
    return settings.base_url


def _codes(catalog: Mapping[str, Sequence[Mapping[str, object]]]) -> set[tuple[str, object, object]]:
    """Return the codes of a catalog document: (kind, code, product of a type)."""
    return {(kind, row["code"], row.get("product")) for kind, rows in catalog.items() for row in rows}


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    try:
        demo(arguments.url or _own(Settings.from_environment()), arguments.events, arguments.days)
    except (DemoFailed, SettingInvalid) as error:
        sys.exit(f"\n{error}" if sys.stdout.isatty() else str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
