"""A scripted service, and clients of it that are closed at the end; and the service itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from tally_client import Tally, sender
from werkzeug.serving import make_server

from tests.clients.receiver import Receiver, receiving
from tests.support.running import free_port


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


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def settings(settings, port):
    return replace(settings, public_url=f"http://127.0.0.1:{port}")


@pytest.fixture
def url(app, port) -> Iterator[str]:
    """The address of the service itself, without a worker."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    thread.join()
    server.server_close()
