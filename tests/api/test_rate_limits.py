"""Rate limits: the maximum number of requests a minute from an address, and with a key."""

from __future__ import annotations

import socket
import time

import pytest
import redis as redis_py
from limits.errors import StorageError
from limits.strategies import SlidingWindowCounterRateLimiter

from app.redis import rate_limit
from app.redis.rate_limit import RateLimit
from tests.conftest import RATE_LIMIT_SECONDS
from tests.support.client import event, root
from tests.support.pace import slack

DATABASE = "sqlite"  # requests are counted in Redis

per_address = pytest.mark.settings(rate_limit_address=3)
per_key = pytest.mark.settings(ingest_auth="key", rate_limit_key=3)
HOME, WORK = "198.51.100.7", "198.51.100.8"


@pytest.fixture(autouse=True)
def flush_uses(services):
    """Write pending uses of keys before the database changes for the next test."""
    yield
    services.ingest_keys.flush()


def post(client, address: str = HOME, token: str = "", **kwargs: object):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.post("/events", [event()], headers=headers, environ_base={"REMOTE_ADDR": address}, **kwargs)


def statuses(client, count: int, *args: object, **kwargs: object) -> list[int]:
    return [post(client, *args, **kwargs).status_code for _ in range(count)]


def age_counters(url: str, seconds: int) -> None:
    """Age every counter in Redis."""
    server = redis_py.Redis.from_url(url)
    for key in server.keys("*"):
        server.pexpire(key, server.pttl(key) - seconds * 1000)


def test_by_default_there_is_no_limit_and_redis_is_not_called(nobody, monkeypatch):
    monkeypatch.setattr(RateLimit, "count", lambda *_: 1 / 0)
    assert statuses(nobody, 5) == [200] * 5


@per_address
def test_requests_beyond_the_limit_of_an_address_are_rejected(nobody, services):
    assert statuses(nobody, 3) == [200] * 3
    answer = post(nobody)
    assert answer.status_code == 429
    assert root(answer) == "REQUEST_RATE_LIMITED"
    message = answer.get_json()[0]["value"]["message"]
    seconds = int(answer.headers["Retry-After"])
    assert message == (
        f"At most 3 requests a minute may come from one address. Nothing was stored; try again in {seconds} seconds."
    )
    assert 50 <= seconds <= 60
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert services.ingest.count() == 3


@per_address
def test_each_address_has_its_own_limit(nobody):
    assert statuses(nobody, 4) == [200, 200, 200, 429]
    assert statuses(nobody, 1, WORK) == [200]


@per_address
@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.7", "198.51.100.7", True),
    ],
)
def test_the_addresses_of_a_subscriber_share_a_limit(nobody, first, second, together):
    statuses(nobody, 3, first)
    assert statuses(nobody, 1, second) == [429 if together else 200]


@per_address
def test_connections_without_an_address_share_a_limit(nobody):
    assert statuses(nobody, 4, "") == [200, 200, 200, 429]


@per_address
def test_other_calls_are_not_limited(nobody, admin):
    assert statuses(nobody, 4)[-1] == 429
    for _ in range(5):
        assert admin.get("/events", environ_base={"REMOTE_ADDR": HOME}).status_code == 200
        assert nobody.request("OPTIONS", "/events", environ_base={"REMOTE_ADDR": HOME}).status_code == 204


@pytest.mark.settings(rate_limit_address=4)
def test_the_window_slides(nobody, redis_url):
    assert statuses(nobody, 5) == [200, 200, 200, 200, 429]
    age_counters(redis_url, 89)  # half of the requests in the previous minute still count
    assert statuses(nobody, 3) == [200, 200, 429]


@per_address
def test_rejected_requests_do_not_count(nobody, redis_url):
    statuses(nobody, 30)
    age_counters(redis_url, 119)
    assert statuses(nobody, 3) == [200] * 3


@per_address
def test_a_client_that_waits_for_the_retry_after_is_accepted(nobody, redis_url):
    statuses(nobody, 3)
    age_counters(redis_url, int(post(nobody).headers["Retry-After"]))
    assert statuses(nobody, 1) == [200]


@per_address
def test_processes_share_the_counters(nobody, redis_url):
    elsewhere = RateLimit(redis_url)
    assert [elsewhere.count("address", HOME, 3) for _ in range(2)] == [None, None]
    assert statuses(nobody, 2) == [200, 429]


@per_key
def test_requests_beyond_the_limit_of_a_key_are_rejected(nobody, services):
    web, mobile = (services.ingest_keys.add(name)[1] for name in ("web", "mobile"))
    assert statuses(nobody, 3, token=web) == [200] * 3
    answer = post(nobody, WORK, token=web)
    assert answer.status_code == 429
    assert "from one key" in answer.get_json()[0]["value"]["message"]
    assert statuses(nobody, 1, token=mobile) == [200]


@pytest.mark.settings(rate_limit_key=1)
def test_keys_are_counted_only_if_they_are_required(nobody, services):
    token = services.ingest_keys.add("web")[1]
    assert statuses(nobody, 3, token=token) == [200] * 3


@pytest.mark.settings(ingest_auth="key", rate_limit_address=3)
def test_attempts_with_invalid_keys_count_for_the_address(nobody):
    assert statuses(nobody, 4, token="tally_" + "A" * 43) == [401, 401, 401, 429]


@pytest.mark.settings(rate_limit_address=1, redis_url="redis://127.0.0.1:1")
def test_without_redis_there_is_no_limit(nobody):
    assert statuses(nobody, 3) == [200] * 3


def test_a_redis_that_does_not_respond_is_skipped_after_a_short_timeout(monkeypatch):
    monkeypatch.setattr(rate_limit, "TIMEOUT_SECONDS", RATE_LIMIT_SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rates = RateLimit(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert rates.count("address", HOME, 1) is None
        assert time.monotonic() - began < slack(1)
        began = time.monotonic()
        assert [rates.count("address", HOME, 1) for _ in range(100)] == [None] * 100
        assert time.monotonic() - began < slack(0.1)


def fail(*given: object) -> bool:
    raise StorageError(ConnectionError("Redis is away"))


def test_redis_is_called_again_after_a_while(redis_url, monkeypatch):
    rates = RateLimit(redis_url)
    with monkeypatch.context() as patch:
        patch.setattr(SlidingWindowCounterRateLimiter, "hit", fail)
        assert rates.count("address", HOME, 1) is None
    assert [rates.count("address", HOME, 1) for _ in range(2)] == [None, None]
    clock = time.monotonic
    monkeypatch.setattr("app.redis.rate_limit.time.monotonic", lambda: clock() + 5)
    assert [rates.count("address", HOME, 1) is None for _ in range(2)] == [True, False]


@per_address
def test_the_openapi_document_describes_a_configured_limit(nobody):
    document = nobody.get("/openapi.json").get_json()
    operation = document["paths"]["/events"]["post"]
    assert operation["responses"]["429"] == {"$ref": "#/components/responses/429"}
    assert "Retry-After" in document["components"]["responses"]["429"]["headers"]
