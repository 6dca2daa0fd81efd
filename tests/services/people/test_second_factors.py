"""Second factors: which codes are right, how often, and how many wrong ones may be tried."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from pyotp import TOTP

from app.exceptions import AccountInvalid, CodeWrong, RateLimited
from app.redis.rate_limit import RateLimit
from app.services.people.second_factors import RECOVERY_CODES, WRONG_CODES, SecondFactors
from app.store.models import Account, AuditEntry, RecoveryCode, Session
from tests.conftest import PASSWORD
from tests.support.threads import at_once

STEP = 30_000
START = 1_793_000_010_000  # begins a step
FORM = "a form"


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that the test sets."""
    clock = SimpleNamespace(ms=START)
    monkeypatch.setattr("app.services.people.second_factors.now", lambda: clock.ms)
    return clock


@pytest.fixture
def factors(services) -> SecondFactors:
    return services.second_factors


@pytest.fixture
def phone(factors) -> TOTP:
    """anna's authenticator app."""
    return TOTP(factors.secret("a salt"))


@pytest.fixture
def anna(services, factors, clock, phone):
    """A user who has turned on the second factor with the code of three steps ago."""
    who = services.accounts.add("anna", "analyst", ["BARCHART"], PASSWORD)
    clock.ms -= 3 * STEP
    who, who_codes = factors.turn_on(who, "a salt", phone.at(clock.ms // 1000))
    clock.ms += 3 * STEP
    return SimpleNamespace(who=replace(who, address="198.51.100.7"), codes=who_codes)


def accepts(factors: SecondFactors, who, code: str) -> bool:
    try:
        factors.verify(who, code, FORM)
    except CodeWrong:
        return False
    return True


def code_at(phone: TOTP, clock: SimpleNamespace, steps: int = 0) -> str:
    return phone.at(clock.ms // 1000 + 30 * steps)


@pytest.mark.parametrize(("steps", "is_right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_differ_by_one_step(factors, anna, phone, clock, steps, is_right):
    assert accepts(factors, anna.who, code_at(phone, clock, steps)) is is_right


def test_a_code_works_once_and_so_does_none_before_it(factors, anna, phone, clock):
    assert accepts(factors, anna.who, code_at(phone, clock))
    assert not accepts(factors, anna.who, code_at(phone, clock))
    assert not accepts(factors, anna.who, code_at(phone, clock, -1))
    clock.ms += STEP  # the same code is still within its window
    assert not accepts(factors, anna.who, code_at(phone, clock, -1))
    assert accepts(factors, anna.who, code_at(phone, clock))


def test_the_code_that_turns_it_on_is_used_up(services, factors, phone, clock):
    who = services.accounts.add("anna", "analyst", [], PASSWORD)
    with pytest.raises(CodeWrong):
        factors.turn_on(who, "another salt", code_at(phone, clock))
    assert not services.accounts.named("anna").has_second_factor
    who, _ = factors.turn_on(who, "a salt", code_at(phone, clock))
    assert not accepts(factors, who, code_at(phone, clock))
    with pytest.raises(AccountInvalid):
        factors.turn_on(who, "a salt", code_at(phone, clock, 1))


def test_people_may_type_blanks_hyphens_and_capitals(factors, anna, phone, clock):
    code = code_at(phone, clock)
    assert accepts(factors, anna.who, f" {code[:3]} {code[3:]} ")
    assert accepts(factors, anna.who, anna.codes[0].replace("-", " ").upper())


@pytest.mark.parametrize("code", ["", " ", "0", "1234567", "\u0661\u0662\u0663\u0664\u0665\u0666", "a\0b", "\ud800"])
def test_anything_else_is_a_wrong_code(factors, anna, code):
    assert not accepts(factors, anna.who, code)


def test_a_recovery_code_works_once_and_for_its_user_only(services, factors, anna, phone, clock):
    assert len(set(anna.codes)) == RECOVERY_CODES
    assert factors.verify(anna.who, anna.codes[0], FORM) == RECOVERY_CODES - 1
    assert not accepts(factors, anna.who, anna.codes[0])
    other, others_codes = factors.turn_on(
        services.accounts.add("olga", "operator", None, PASSWORD), "a salt", code_at(phone, clock)
    )
    assert not accepts(factors, other, anna.codes[1])
    assert accepts(factors, anna.who, anna.codes[1])
    renewed = factors.replace_recovery_codes(anna.who)
    assert not accepts(factors, anna.who, anna.codes[2])
    assert accepts(factors, anna.who, renewed[0])
    assert accepts(factors, other, others_codes[0])


def test_neither_the_secret_nor_a_recovery_code_is_stored(services, factors, anna):
    stored = str([*Account.select().dicts(), *RecoveryCode.select().dicts(), *AuditEntry.select().dicts()])
    for secret in (factors.secret("a salt"), *anna.codes, *(code.replace("-", "") for code in anna.codes)):
        assert secret not in stored
    services.accounts.remove("anna")
    assert RecoveryCode.select().count() == 0


@pytest.mark.both_databases
def test_of_concurrent_requests_with_the_same_code_one_succeeds(factors, anna, phone, clock, monkeypatch):
    monkeypatch.setattr("app.services.people.second_factors.WRONG_CODES", 100)
    for code in (code_at(phone, clock), anna.codes[0]):
        assert at_once(8, lambda _, code=code: accepts(factors, anna.who, code)).count(True) == 1


def test_ten_wrong_codes_in_a_quarter_of_an_hour_throttle_the_user_at_any_address(
    services, factors, anna, phone, clock
):
    for number in range(WRONG_CODES):
        assert not accepts(factors, replace(anna.who, address=f"198.51.100.{number}"), "000000")
    for code in (code_at(phone, clock), anna.codes[0]):
        with pytest.raises(RateLimited) as caught:
            factors.verify(anna.who, code, FORM)
        assert 1 <= caught.value.seconds <= 15 * 60
    olga = services.accounts.add("olga", "operator", None, PASSWORD)
    olga, _ = factors.turn_on(olga, "a salt", code_at(phone, clock))
    assert accepts(factors, olga, code_at(phone, clock, 1))
    changed = services.accounts.set_password("anna", "another password")  # the one who guesses has the old password
    assert accepts(factors, changed, code_at(phone, clock))


def test_concurrent_guesses_get_no_more_attempts(settings, anna, monkeypatch):
    processes = [SecondFactors(settings, RateLimit(settings.redis, local_fallback=True)) for _ in range(2)]
    tried = []
    monkeypatch.setattr(SecondFactors, "_use_code", lambda *given: bool(tried.append(given)))

    def guess(number: int) -> None:
        with pytest.raises((CodeWrong, RateLimited)):
            processes[number % 2].verify(anna.who, "000000", FORM)

    at_once(30, guess)
    assert len(tried) == WRONG_CODES


def test_the_right_code_starts_a_new_count(factors, anna):
    for code in anna.codes[:2]:
        for _ in range(WRONG_CODES - 1):
            assert not accepts(factors, anna.who, "000000")
        assert accepts(factors, anna.who, code)


def test_turning_it_on_ends_the_sessions_and_throttling_does_not(services, factors, phone, clock):
    who = services.accounts.add("anna", "analyst", [], PASSWORD)
    services.sessions.begin(who, "Firefox")
    changed, _ = factors.turn_on(who, "a salt", code_at(phone, clock))
    assert Session.select().count() == 0
    late = services.sessions.begin(who, "Firefox")  # of a sign-in that verified the password before
    assert services.sessions.find(late, "") is None
    own = services.sessions.begin(changed, "Firefox")
    for _ in range(WRONG_CODES + 1):
        with pytest.raises((CodeWrong, RateLimited)):
            factors.verify(changed, "000000", FORM)
    assert services.sessions.find(own, "").principal == changed


def test_each_change_is_recorded_and_failures_once_a_minute(services, factors, anna, phone, clock):
    boss = services.accounts.add("boss", "admin", None, PASSWORD)
    for _ in range(WRONG_CODES - 1):
        accepts(factors, anna.who, "000000")
    factors.verify(anna.who, anna.codes[0], FORM)
    factors.replace_recovery_codes(anna.who)
    factors.remove(anna.who, by=anna.who)
    with pytest.raises(AccountInvalid):
        factors.remove(anna.who, by=boss)
    factors.turn_on(anna.who, "a salt", code_at(phone, clock))
    factors.remove(anna.who, by=boss)
    noted = AuditEntry.select().where(AuditEntry.object == "user anna").order_by(AuditEntry.id)
    assert [(one.who, one.action, one.details) for one in noted][1:] == [
        ("anna", "second factor turned on", {}),
        ("", "sign-in failed", {"at": FORM}),
        ("anna", "recovery code used", {"left": RECOVERY_CODES - 1}),
        ("anna", "recovery codes replaced", {}),
        ("anna", "second factor turned off", {}),
        ("anna", "second factor turned on", {}),
        ("boss", "second factor reset", {}),
    ]


def test_after_a_change_of_secret_key_only_recovery_codes_are_right(settings, services, anna, phone, clock):
    changed = SecondFactors(replace(settings, secret_key="another secret key"), RateLimit(settings.redis))
    assert not accepts(changed, anna.who, code_at(phone, clock))
    assert accepts(changed, anna.who, anna.codes[0])


def test_the_uri_names_the_service_the_user_and_the_host(factors, anna, phone):
    uri = urlsplit(factors.uri(replace(anna.who, name="a b?c"), "a salt"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Tally:a%20b%3Fc%40tally.example")
    assert parse_qs(uri.query) == {"secret": [phone.secret], "issuer": ["Tally"]}
