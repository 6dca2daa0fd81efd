"""`TallyHandler`: log records as events."""

from __future__ import annotations

import logging

import pytest
from tally_client import TallyHandler

from tests.clients.receiver import Answer
from tests.support.pace import slack
from tests.support.running import wait_until


@pytest.fixture
def logger():
    logger = logging.getLogger("shop.cart")
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()
    logger.propagate = True


def test_a_log_record_becomes_an_event(service, connect, logger):
    tally = connect()
    logger.addHandler(TallyHandler(tally, "C", "P"))
    logger.warning("Cart of %s is %s", "user-1", "empty")
    assert tally.flush(slack(10))
    [[event]] = service.stored.values()
    assert (event["type"], event["context"]) == ("LOG", ["WARNING", "shop.cart", "Cart of user-1 is empty"])


def test_a_function_chooses_the_context(service, connect, logger):
    tally = connect()
    logger.addHandler(TallyHandler(tally, "C", "P", "CART", context=lambda record: [record.user, record.msg]))
    logger.info("added", extra={"user": "user-1"})
    assert tally.flush(slack(10))
    assert service.contexts() == ["user-1"]


def test_long_and_broken_texts_are_made_to_fit(service, connect, logger):
    tally = connect()
    logger.propagate = False  # pytest would capture the text, which xdist cannot send from one process to another
    logger.addHandler(TallyHandler(tally, "C", "P", context=lambda record: [record.getMessage(), None, 3]))
    logger.info("x" * 5000)
    logger.info("a\0b\ud800")
    assert tally.flush(slack(10))
    assert service.contexts() == ["x" * 4096, "a\ufffdb?"]


def test_it_neither_raises_nor_records_itself(service, connect, logger, monkeypatch):
    """Neither an invalid code, nor a function that fails or logs, nor the client's own warnings."""
    reported = []
    monkeypatch.setattr(logging.Handler, "handleError", lambda handler, record: reported.append(record))
    tally = connect()
    root = logging.getLogger()
    everything = TallyHandler(tally, "C", "P")
    root.addHandler(everything)
    try:
        service.answers(Answer(500), Answer(500))
        logger.addHandler(TallyHandler(tally, "", "P"))
        logger.addHandler(TallyHandler(tally, "C", "P", context=lambda record: [logger.info("again"), {}]))
        logger.info("once")
        wait_until(lambda: tally.flush(1), 10)
    finally:
        root.removeHandler(everything)
    assert len(reported) >= 2
    assert not [event for events in service.stored.values() for event in events if "tally_client" in event["context"]]
    assert sum("once" in event["context"] for events in service.stored.values() for event in events) == 1
