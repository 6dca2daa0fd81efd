"""Queries about second factors, which are columns of users, and their recovery codes."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.models import Account, RecoveryCode
from app.store.queries import execute


def turn_on(account: int, salt: str, step: int, password_version: str) -> bool:
    """Turn on a user's second factor, which ends their sessions, or return False if they have one."""
    values = {"totp_salt": salt, "totp_step": step, "password_version": password_version}
    return execute(Account.update(**values).where(Account.id == account, Account.totp_salt.is_null())) == 1


def turn_off(account: int) -> bool:
    """Turn off a user's second factor, remove the recovery codes, and return whether there was one."""
    replace_codes(account, [])
    has_one = Account.totp_salt.is_null(False)
    return execute(Account.update(totp_salt=None, totp_step=None).where(Account.id == account, has_one)) == 1


def use_step(account: int, salt: str, step: int) -> bool:
    """Record the step of a code, or return False if a code of this or a later step was used.

    Of two requests with the same code, the first to update the row wins.
    """
    unused = (Account.totp_salt == salt) & (Account.totp_step < step)
    return execute(Account.update(totp_step=step).where(Account.id == account, unused)) == 1


def replace_codes(account: int, digests: Sequence[str]) -> None:
    """Replace a user's recovery codes."""
    execute(RecoveryCode.delete().where(RecoveryCode.account == account))
    if digests:
        execute(RecoveryCode.insert_many([{"account": account, "digest": digest} for digest in digests]))


def use_code(account: int, digest: str) -> bool:
    """Remove a recovery code, and return whether the user had it."""
    return execute(RecoveryCode.delete().where(RecoveryCode.account == account, RecoveryCode.digest == digest)) == 1


def count_codes(account: int) -> int:
    """Return the number of a user's unused recovery codes."""
    return RecoveryCode.select().where(RecoveryCode.account == account).count()
