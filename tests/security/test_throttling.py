"""Wrong passwords: how many may be tried, and that responses do not reveal which users exist."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections import defaultdict

import pytest
import redis as redis_py
from argon2 import PasswordHasher
from limits.storage import MemoryStorage

from app.redis.rate_limit import RateLimit
from app.services.people import login, passwords
from app.services.people.accounts import Accounts
from app.store.models import AuditEntry
from tests.admin.conftest import TOKEN, Visitor
from tests.api.people.test_auth import basic
from tests.conftest import PASSWORD
from tests.support.client import root
from tests.support.pace import times
from tests.support.running import wait_until
from tests.support.threads import BackgroundThreads, HoldPoint, at_once

HOME, WORK = "198.51.100.7", "198.51.100.8"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because failed sign-ins are counted in Redis or in the process."""
    return sqlite_url


@pytest.fixture(autouse=True)
def one_minute() -> None:
    """Do not begin when a minute ends, because the library weighs what was counted before by the time since."""
    wait_until(lambda: time.time() % 60 < 55, 10)


def call(nobody, name: str, password: str, address: str = HOME):
    headers = {"Authorization": basic(name, password)}
    return nobody.get("/service/authenticate", headers=headers, environ_base={"REMOTE_ADDR": address})


def statuses(nobody, count: int, *args: str) -> list[int]:
    return [call(nobody, *args).status_code for _ in range(count)]


def post_sign_in(app, name: str, password: str, address: str = HOME):
    """Send the form of the sign-in page."""
    somebody = Visitor(app)
    token = TOKEN.search(somebody.get("/admin/sign-in").get_data(as_text=True))[1]
    fields = {"user": name, "password": password, "csrf_token": token}
    return somebody.flask_client.post("/admin/sign-in", data=fields, environ_base={"REMOTE_ADDR": address})


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """Record the passwords that are hashed for a comparison."""
    made, verify = [], PasswordHasher.verify
    monkeypatch.setattr(PasswordHasher, "verify", lambda self, *given: made.append(given[0]) or verify(self, *given))
    return made


class TestOnTheApi:
    def test_of_many_wrong_passwords_ten_are_checked(self, nobody, admin, hashed):
        found = [call(nobody, "admin", f"wrong {number}").status_code for number in range(times(100, 1000))]
        assert set(found[:10]) == {401}
        assert found.count(401) <= 20  # at most one more window of a minute begins meanwhile
        assert set(found[10:]) <= {429, 401}
        assert len(hashed) == found.count(401)

    def test_another_address_may_sign_in_meanwhile(self, nobody, admin):
        statuses(nobody, 11, "admin", "wrong")
        assert call(nobody, "admin", PASSWORD, WORK).status_code == 200

    def test_at_the_same_address_the_right_password_waits_too_or_it_could_be_found(self, nobody, admin):
        assert statuses(nobody, 11, "admin", "wrong")[-1] == 429
        assert call(nobody, "admin", PASSWORD).status_code == 429

    def test_a_recently_verified_password_waits_too(self, nobody, admin):
        assert call(nobody, "admin", PASSWORD, WORK).status_code == 200
        statuses(nobody, 11, "admin", "wrong")
        assert call(nobody, "admin", PASSWORD).status_code == 429
        assert call(nobody, "admin", PASSWORD, WORK).status_code == 200

    def test_another_user_at_the_same_address_is_not_affected(self, nobody, admin, operator):
        statuses(nobody, 11, "admin", "wrong")
        assert call(nobody, "olga", PASSWORD).status_code == 200

    def test_one_password_is_not_tried_with_many_names(self, nobody, admin):
        found = [call(nobody, f"user-{number}", "wrong").status_code for number in range(60)]
        assert found == [401] * 50 + [429] * 10
        assert call(nobody, "admin", PASSWORD).status_code == 429
        assert call(nobody, "admin", PASSWORD, WORK).status_code == 200

    def test_right_passwords_are_not_counted(self, nobody, admin):
        assert statuses(nobody, 100, "admin", PASSWORD) == [200] * 100

    def test_the_response_is_as_the_contract_says(self, nobody, admin):
        statuses(nobody, 10, "admin", "wrong")
        answer = call(nobody, "admin", "wrong")
        assert (answer.status_code, root(answer)) == (429, "REQUEST_RATE_LIMITED")
        assert answer.get_json()[0]["children"] == []
        seconds = int(answer.headers["Retry-After"])
        assert 1 <= seconds <= 60
        assert f"Try again in {seconds} second" in answer.get_json()[0]["value"]["message"]

    def test_requests_without_a_password_continue(self, nobody, admin):
        statuses(nobody, 11, "admin", "wrong")
        headers = {"Authorization": basic("admin", "wrong")}
        assert nobody.post("/events", [], headers=headers, environ_base={"REMOTE_ADDR": HOME}).status_code == 200

    def test_missing_credentials_are_not_counted(self, nobody):
        assert [nobody.get("/reports").status_code for _ in range(60)] == [401] * 60

    def test_a_subscribers_network_is_one_address(self, nobody, admin):
        for number in range(10):
            call(nobody, "admin", "wrong", f"2001:db8::{number:x}")
        assert call(nobody, "admin", "wrong", "2001:db8::ffff:1").status_code == 429
        assert call(nobody, "admin", "wrong", "2001:db8:0:1::1").status_code == 401

    def test_a_forged_origin_stays_one_address(self, nobody, admin):
        def forward(number: int) -> int:
            made_up = {"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": f"203.0.113.{number}"}
            headers = {"Authorization": basic("admin", "wrong"), "Forwarded": f"for=203.0.113.{number}"} | made_up
            return nobody.get("/reports", headers=headers).status_code

        assert [forward(number) for number in range(12)] == [401] * 10 + [429] * 2

    @pytest.mark.settings(trusted_proxies=1)
    def test_behind_a_trusted_proxy_addresses_from_others_do_not_count(self, nobody, admin):
        def forward(number: int) -> int:
            headers = {"Authorization": basic("admin", "wrong"), "X-Forwarded-For": f"203.0.113.{number}, {HOME}"}
            return nobody.get("/reports", headers=headers).status_code

        assert [forward(number) for number in range(12)] == [401] * 10 + [429] * 2

    def test_of_many_networks_each_uses_some_keys_for_two_minutes(self, nobody, admin, redis_url):
        for number in range(30):
            call(nobody, f"user-{number}", "wrong", f"2001:db8:0:{number:x}::1")
        redis = redis_py.Redis.from_url(redis_url)
        counters = list(redis.scan_iter("*tally:rate*"))
        assert 0 < len(counters) <= 30 * 3
        assert all(0 < redis.ttl(key) <= 120 for key in counters)


class TestOnThePage:
    def test_the_form_returns_with_the_time_to_wait(self, app, admin):
        assert [post_sign_in(app, "admin", "wrong").status_code for _ in range(10)] == [401] * 10
        answer = post_sign_in(app, "admin", PASSWORD)
        assert answer.status_code == 429
        assert re.search(r"Too many wrong passwords .* Try again in \d+ second", answer.get_data(as_text=True))
        assert int(answer.headers["Retry-After"]) <= 60
        assert post_sign_in(app, "admin", PASSWORD, WORK).status_code == 302

    def test_the_form_and_the_api_are_counted_together(self, app, nobody, admin):
        statuses(nobody, 6, "admin", "wrong")
        assert [post_sign_in(app, "admin", "wrong").status_code for _ in range(5)] == [401] * 4 + [429]


class TestTogether:
    def test_all_processes_count_together(self, settings, nobody, admin, services):
        other = login.Login(services.accounts, RateLimit(settings.redis, local_fallback=True))
        for _ in range(6):
            assert other.authenticate("admin", "wrong", HOME, "API") is None
        assert statuses(nobody, 5, "admin", "wrong") == [401] * 4 + [429]

    @pytest.mark.settings(redis_url="redis://127.0.0.1:1")
    def test_while_redis_is_unavailable_each_process_counts_by_itself(self, nobody, admin):
        assert statuses(nobody, 12, "admin", "wrong") == [401] * 10 + [429] * 2
        assert call(nobody, "admin", PASSWORD, WORK).status_code == 200

    @pytest.mark.settings(redis_url="redis://127.0.0.1:1")
    def test_counts_of_a_process_expire_after_two_minutes(self, services, admin, monkeypatch):
        storage = MemoryStorage()
        monkeypatch.setattr("app.redis.rate_limit.MemoryStorage", lambda: storage)
        for number in range(30):
            services.login.authenticate(f"user-{number}", "wrong", f"2001:db8:0:{number:x}::1", "API")
        assert 0 < len(storage.storage) <= 30 * 3
        assert len(storage.expirations) == len(storage.storage)
        assert max(storage.expirations.values()) <= time.time() + 120

    def test_concurrent_attempts_get_no_more_checks(self, services, admin, hashed):
        def try_one(number: int) -> str:
            try:
                return (
                    "wrong" if services.login.authenticate("admin", f"wrong {number}", HOME, "API") is None else "right"
                )
            except login.RateLimited:
                return "throttled"

        found = at_once(60, try_one)
        assert found.count("wrong") == len(hashed) == 10
        assert found.count("throttled") == 60 - found.count("wrong")

    def test_concurrent_attempts_with_the_right_password_succeed(self, services, admin, hashed):
        found = at_once(40, lambda number: services.login.authenticate("admin", PASSWORD, HOME, "API").name)
        assert found == ["admin"] * 40
        assert len(hashed) == 1

    def test_few_are_hashed_at_once_because_each_takes_memory(self, services, admin, monkeypatch):
        now, most, lock = [0], [0], threading.Lock()

        def slow(self, *given: str) -> bool:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1
            return False

        monkeypatch.setattr(PasswordHasher, "verify", slow)
        at_once(
            30, lambda number: services.login.authenticate(f"user-{number}", "wrong", f"198.51.100.{number}", "API")
        )
        assert most[0] == login.HASHES_AT_ONCE

    def test_an_attempt_that_waits_too_long_is_asked_to_retry(self, services, admin, monkeypatch):
        monkeypatch.setattr(login, "WAIT_SECONDS", 0.05)
        monkeypatch.setattr(login, "TURNS", 2**32)  # otherwise two of the addresses may have the same lock
        monkeypatch.setattr(services.login, "_turns", defaultdict(threading.Lock))
        hold_points = [HoldPoint() for _ in range(login.HASHES_AT_ONCE)]
        free = iter(hold_points)
        monkeypatch.setattr(PasswordHasher, "verify", lambda hasher, *given: next(free).hold())
        with BackgroundThreads() as background:
            for number, point in enumerate(hold_points):
                background.start(services.login.authenticate, "admin", f"wrong {number}", f"198.51.100.{number}", "API")
                point.until_reached()
            with pytest.raises(login.RateLimited, match="at this moment"):
                services.login.authenticate("admin", PASSWORD, HOME, "API")
            for point in hold_points:
                point.resume()


class TestKnownAndUnknown:
    def test_they_get_the_same_response(self, app, nobody, admin):
        known, unknown = ([call(nobody, name, "wrong") for _ in range(12)] for name in ("admin", "nobody"))
        assert [answer.status_code for answer in known] == [answer.status_code for answer in unknown]
        assert {answer.get_data() for answer in known[:10]} == {answer.get_data() for answer in unknown[:10]}
        assert [sorted(answer.headers.keys()) for answer in known] == [
            sorted(answer.headers.keys()) for answer in unknown
        ]

    def test_both_cost_one_hash_even_the_first_time(self, nobody, admin, hashed):
        for name in ("nobody", "admin", "nobody"):
            call(nobody, name, "wrong")
        assert len(hashed) == 3

    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    def test_they_take_the_same_time(self, settings, app, monkeypatch):
        """Compares medians of ten measured in turns; a hash takes so long that the rest does not matter."""
        cost = times(1, 3)  # rounds over the real 64 MiB: a third of the real cost, or all of it
        monkeypatch.setattr(passwords, "PasswordHasher", functools.partial(PasswordHasher, time_cost=cost))
        real = login.Login(accounts := Accounts(), RateLimit(settings.redis))
        accounts.add("admin", "admin", None, PASSWORD)
        taken = {"admin": [], "nobody": []}
        for number in range(10):
            for name, seconds in taken.items():
                began = time.perf_counter()
                real.authenticate(name, "wrong", f"198.51.100.{number}", "API")
                seconds.append(time.perf_counter() - began)
        known, unknown = (sorted(seconds)[5] for seconds in taken.values())
        assert 0.7 < known / unknown < 1.4


class TestTheAuditLog:
    def entries(self) -> list[tuple[str, str, str, dict]]:
        rows = AuditEntry.select().where(AuditEntry.action.startswith("sign-in")).order_by(AuditEntry.id)
        return [(one.action, one.object, one.address, one.details) for one in rows]

    def test_a_failure_is_recorded_once_a_minute_and_so_is_the_throttling(self, nobody, admin):
        statuses(nobody, 30, "admin", "wrong")
        assert self.entries() == [
            ("sign-in failed", "user admin", HOME, {"at": "API"}),
            ("sign-in throttled", "", HOME, {}),
        ]

    def test_an_unknown_name_is_not_recorded_because_it_may_be_a_password(self, app, admin):
        post_sign_in(app, "my secret password", "")
        assert self.entries() == [("sign-in failed", "an unknown user", HOME, {"at": "the sign-in page"})]
