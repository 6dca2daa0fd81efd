"""Bootstrap: migrate the database, record changed settings and, on the first start, create a user."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from app.exceptions import AccountInvalid, SettingInvalid
from app.services import Services
from app.services.people import audit
from app.services.people.principal import ADMIN, SYSTEM
from app.store.database import transaction, upgrade
from app.store.operations import settings as store

FIRST_USER = "admin"


@dataclass(frozen=True)
class Migrated:
    """Result of a migration."""

    applied: list[str]  # names of the migrations
    backup: str | None  # the backup made before them, or None if there was nothing to back up or it is switched off


@dataclass(frozen=True)
class FirstStart:
    """Result of a start."""

    is_first: bool  # whether this start created the first user
    password: str | None  # the generated password of the first user. None if ADMIN_PASSWORD sets it or the user existed


def prepare(services: Services, password: str) -> FirstStart:
    """Migrate the database after a backup and, on the very first start, create the user `admin`.

    The catalog stays empty, because invented columns would rearrange the reports of real products. Without a password,
    the user gets a random one, which is shown once.

    Raises:
        DatabaseNewer, BackupFailed: see `migrate`.
        SettingInvalid: ADMIN_PASSWORD is invalid.
    """
    migrate(services)
    _note_settings(services)
    if services.accounts.any():
        return FirstStart(False, None)
    generated = None if password else secrets.token_urlsafe(12)
    try:
        services.accounts.add(FIRST_USER, ADMIN, None, generated or password)
    except AccountInvalid as error:
        raise SettingInvalid(f"ADMIN_PASSWORD: {error}") from None
    return FirstStart(True, generated)


def migrate(services: Services) -> Migrated:
    """Migrate the database after a backup, unless BACKUP_BEFORE_MIGRATION is off.

    Raises:
        DatabaseNewer: the database was migrated by a newer version.
        BackupFailed: a restore was interrupted, or the backup could not be made.
        SettingInvalid: SQLite's file cannot be created.
    """
    services.restore.refuse_unfinished()
    backup = services.backups.before_migration()
    return Migrated(upgrade(), backup)


def _note_settings(services: Services) -> None:
    """Record in the audit log which settings changed since the last start. Passwords in them are masked."""
    now = {one.name: one.value for one in services.system.settings()}
    with transaction():
        before = store.seen()
        changed = {
            name: f"{before[name] or 'empty'} → {now[name] or 'empty'}"
            for name in now
            if name in before and before[name] != now[name]
        }
        if changed:
            audit.note(SYSTEM, "settings changed", details=changed)
        store.keep(now)
