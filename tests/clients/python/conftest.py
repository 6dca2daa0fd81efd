"""A scripted service, and clients of it that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tally_client import Tally, sender

from tests.clients.python.receiver import Receiver, receiving


@pytest.fixture
def service() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def connect(service: Receiver, monkeypatch) -> Iterator[Callable[..., Tally]]:
    """A function that returns a client of the scripted service, whose pauses are short."""
    monkeypatch.setattr(sender, "FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(sender, "MAX_BACKOFF_SECONDS", 0.05)
    opened = []

    def connect(**arguments: object) -> Tally:
        opened.append(Tally(**({"url": service.url, "batch_seconds": 0.01} | arguments)))
        return opened[-1]

    yield connect
    for tally in opened:
        tally.close(timeout=0)
