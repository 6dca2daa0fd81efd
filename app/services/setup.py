"""The first start: a migrated database, the sample catalog, and somebody who can sign in."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

from app.services import Services
from app.services.accounts import ADMIN
from app.store.database import upgrade

FIRST_USER = "admin"


@dataclass(frozen=True)
class FirstStart:
    """What a start found.

    Attributes:
        password: the first user's, if this start made the user; else None.
    """

    password: str | None


def prepare(services: Services) -> FirstStart:
    """Migrate, and on the very first start load the sample catalog and make the user `admin`.

    The password is ADMIN_PASSWORD, or a random one that is told once.

    Raises:
        DatabaseNewer: the database is of a newer version.
        AccountInvalid: ADMIN_PASSWORD will not do.
    """
    upgrade()
    if services.accounts.any():
        return FirstStart(None)
    if services.catalog.is_empty():
        services.catalog.load_sample()
    password = os.environ.get("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
    services.accounts.add(FIRST_USER, ADMIN, None, password)
    return FirstStart(password)
