"""Passwords: stored as argon2id hashes, and verified at the same cost for known and unknown users."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from app.exceptions import AccountInvalid
from app.services.people import passwords as module
from app.services.people.accounts import Accounts
from app.store.models import Account
from tests.support.threads import at_once

RIGHT, WRONG, OTHER = "correct horse", "battery staple", "another horse"


@pytest.fixture
def accounts(services) -> Accounts:
    services.accounts.add("anna", "operator", None, RIGHT)
    return services.accounts


@pytest.fixture
def hashings(accounts, monkeypatch) -> list[str]:
    """Record the hashes that passwords are compared with."""
    compared, verify = [], PasswordHasher.verify
    monkeypatch.setattr(
        PasswordHasher,
        "verify",
        lambda hasher, stored, password: compared.append(stored) or verify(hasher, stored, password),
    )
    return compared


def test_a_password_is_stored_as_a_salted_argon2id_hash(accounts):
    accounts.add("olga", "operator", None, RIGHT)
    hashes = [row.password for row in Account.select()]
    assert all(password_hash.startswith("$argon2id$") for password_hash in hashes)
    assert len(set(hashes)) == 2


def test_only_the_right_password_is_accepted(accounts):
    assert accounts.verify("anna", RIGHT).name == "anna"
    for wrong in (WRONG, "", RIGHT.upper(), f"{RIGHT} ", RIGHT[:-1], f"{RIGHT}\0"):
        assert accounts.verify("anna", wrong) is None


@pytest.mark.parametrize("name", ["nobody", "", "Anna", "an na", "a" * 10_000, "anna\0", "anna'; DROP TABLE account"])
def test_rejecting_an_unknown_user_costs_as_much_as_a_known_one(accounts, hashings, name):
    assert accounts.verify(name, RIGHT) is None
    assert len(hashings) == 1


def test_hashing_uses_the_parameters_recommended_by_rfc_9106(services, monkeypatch):
    monkeypatch.setattr(module, "PasswordHasher", PasswordHasher)
    Accounts().add("olga", "operator", None, RIGHT)
    assert Account.get(Account.name == "olga").password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")  # RFC 9106


def test_the_dummy_hash_of_unknown_users_has_the_cost_of_a_real_one(accounts, hashings):
    for name in ("anna", "nobody"):
        accounts.verify(name, WRONG)
    real, unknown = (stored.split("$")[:4] for stored in hashings)  # algorithm, version, memory, time, threads
    assert real == unknown


def test_a_right_password_is_hashed_once_a_minute(accounts, hashings, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    for _ in range(5):
        assert accounts.verify("anna", RIGHT)
    assert len(hashings) == 1
    clock[0] += module.REMEMBER_SECONDS
    assert accounts.verify("anna", RIGHT)
    assert len(hashings) == 2


def test_a_wrong_password_is_hashed_each_time(accounts, hashings):
    for _ in range(3):
        assert accounts.verify("anna", WRONG) is None
    assert len(hashings) == 3


def test_the_cache_does_not_reveal_the_password():
    passwords = module.Passwords()
    assert passwords.matches("anna", RIGHT, passwords.hash(RIGHT))
    assert passwords.may_be_remembered("anna", RIGHT)
    for text in (RIGHT, "anna"):
        assert text not in repr(vars(passwords))


def test_the_cache_key_separates_name_and_password(accounts, hashings):
    accounts.add("ann", "operator", None, OTHER)
    accounts.verify("anna", RIGHT)
    assert accounts.verify("ann", f"a{RIGHT}") is None
    assert accounts.verify("ann", RIGHT) is None
    assert len(hashings) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda accounts: accounts.set_password("anna", OTHER),
        lambda accounts: Accounts().set_password("anna", OTHER),
        lambda accounts: accounts.remove("anna"),
    ],
    ids=["changed", "changed by another process", "removed"],
)
def test_a_cached_password_is_rejected_immediately_after_a_change(accounts, change):
    assert accounts.verify("anna", RIGHT)
    change(accounts)
    assert accounts.verify("anna", RIGHT) is None


def test_a_new_user_with_an_old_name_has_a_new_password_version(accounts):
    before = accounts.verify("anna", RIGHT)
    accounts.remove("anna")
    accounts.add("anna", "analyst", ["FERNHILL"], OTHER)
    assert accounts.verify("anna", RIGHT) is None
    assert accounts.verify("anna", OTHER).customers == ("FERNHILL",)
    assert accounts.verify("anna", OTHER).password_version != before.password_version


@pytest.mark.parametrize(
    ("password", "reason"), [("", "0 characters"), ("seven..", "7 characters"), ("correct\0horse", "NUL")]
)
def test_an_invalid_password_is_rejected(accounts, password, reason):
    with pytest.raises(AccountInvalid, match=reason):
        accounts.add("olga", "operator", None, password)
    with pytest.raises(AccountInvalid, match=reason):
        accounts.set_password("anna", password)
    assert [account.name for account in accounts.everyone()] == ["anna"]
    assert accounts.verify("anna", RIGHT)


def test_a_password_may_have_any_characters(accounts):
    accounts.set_password("anna", "  ñandú: 🐎 שלום  ")
    assert accounts.verify("anna", "  ñandú: 🐎 שלום  ")
    assert accounts.verify("anna", "ñandú: 🐎 שלום") is None


def test_concurrent_additions_of_a_name_create_one_user(services):
    def add(number: int) -> bool:
        try:
            services.accounts.add("olga", "analyst", ["BARCHART"], f"{RIGHT} {number}")
        except AccountInvalid:
            return False
        return True

    assert sorted(at_once(4, add)) == [False, False, False, True]
    assert len(services.accounts.everyone()) == 1
