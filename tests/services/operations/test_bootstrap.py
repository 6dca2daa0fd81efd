"""Bootstrap: the first start migrates the database and creates a user, and later starts change nothing."""

from __future__ import annotations

import pytest

from app import create_app
from app.config import Settings
from app.exceptions import SettingInvalid
from app.services import Services
from app.services.operations.bootstrap import prepare
from app.store import database as store
from app.store.models import AuditEntry


@pytest.fixture
def services(tmp_path) -> Services:
    """The services of an installation without a database."""
    yield create_app(Settings(data_dir=tmp_path / "var")).extensions["services"]
    store.release()


def test_the_first_start_migrates_and_creates_a_user_with_a_random_password(services):
    first = prepare(services, "")
    assert store.pending() == []
    assert services.catalog.is_empty()  # so that reports have every item as it was sent
    assert len(first.password) >= 16
    assert services.accounts.verify("admin", first.password).role == "admin"
    assert first.password != prepare(services, "").password


def test_the_first_user_s_password_can_be_set(services):
    assert prepare(services, "correct horse").password is None  # a password that was set is not printed
    assert services.accounts.verify("admin", "correct horse")


def test_an_invalid_password_is_rejected_by_the_setting_s_name(services):
    with pytest.raises(SettingInvalid, match="ADMIN_PASSWORD: The password has 5 characters"):
        prepare(services, "short")
    assert not services.accounts.any()


def test_a_second_start_changes_nothing_and_prints_no_password(services):
    prepare(services, "correct horse")
    services.catalog.put(b'{"customers": [{"code": "OURS"}]}')
    before = services.catalog.export()
    assert prepare(services, "another horse").password is None
    assert services.accounts.verify("admin", "correct horse")
    assert services.catalog.export() == before


def test_a_catalog_imported_before_the_first_start_is_not_replaced(services):
    store.upgrade()
    services.catalog.put(b'{"customers": [{"code": "OURS"}]}')
    prepare(services, "")
    assert [customer["code"] for customer in services.catalog.export()["customers"]] == ["OURS"]


def setting_changes() -> list[dict]:
    return [entry.details for entry in AuditEntry.select().where(AuditEntry.action == "settings changed")]


def test_changed_settings_are_recorded_in_the_audit_log_at_the_next_start(tmp_path):
    def start(**settings: object) -> None:
        app = create_app(Settings(data_dir=tmp_path / "var", **settings))
        prepare(app.extensions["services"], "correct horse")

    start()
    start()
    assert setting_changes() == []
    start(catalog_mode="strict", port=8001)
    start(catalog_mode="strict", port=8001)
    assert setting_changes() == [{"PORT": "8000 → 8001", "CATALOG_MODE": "open → strict"}]
    start(catalog_mode="strict", port=8001, secret_key="hush" * 8, redis_url="redis://u:hush@localhost:6379/0")
    assert len(setting_changes()) == 2
    assert "hush" not in str(setting_changes())
    store.release()
