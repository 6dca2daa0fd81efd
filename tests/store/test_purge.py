"""Purges delete many rows a few at a time, so that transactions stay short."""

from __future__ import annotations

import math

import pytest

from app.store import step_size
from app.store.database import database
from app.store.events import idempotency, rejected
from app.store.models import AuditEntry, IdempotencyKey, RejectedEvent, Session
from app.store.people import audit, sessions
from app.support.clock import now

ROWS, STEP_ROWS = 23, 5


def purge_keys() -> int:
    IdempotencyKey.insert_many(
        [{"key": str(number), "digest": b"", "answer": b"", "created_at": 1} for number in range(ROWS)]
    ).execute()
    return idempotency.purge(2)


def purge_rejected() -> int:
    row = {"received_at": 1, "address": "", "request_id": "", "place": 1, "event": "{}", "field": "", "reasons": []}
    RejectedEvent.insert_many([row | {"field": str(number)} for number in range(ROWS)]).execute()
    rejected.purge(2, 1_000, 1_000_000)
    return ROWS


def purge_audit() -> int:
    row = {"who": "", "action": "", "object": ""}
    AuditEntry.insert_many([row | {"recorded_at": number} for number in range(ROWS)]).execute()
    return audit.purge(ROWS)


def purge_sessions() -> int:
    row = {"account": 1, "password_version": "", "created_at": 1, "seen_at": 1, "address": "", "agent": ""}
    Session.insert_many([row | {"digest": str(number)} for number in range(ROWS)]).execute()
    return sessions.purge(sessions.Limits(now(), now()))


@pytest.mark.parametrize("fill_and_purge", [purge_keys, purge_rejected, purge_audit, purge_sessions])
def test_expired_rows_are_deleted_a_few_at_a_time(app, monkeypatch, fill_and_purge):
    monkeypatch.setattr(step_size, "MAX_PURGED_ROWS", STEP_ROWS)
    monkeypatch.setattr(step_size, "STEP_SECONDS", math.inf)
    deleted, execute = [], database.obj.execute_sql

    def record(sql: str, *args: object, **kwargs: object) -> object:
        cursor = execute(sql, *args, **kwargs)
        if sql.startswith("DELETE"):
            assert not database.in_transaction()
            deleted.append(cursor.rowcount)
        return cursor

    monkeypatch.setattr(database.obj, "execute_sql", record)
    assert fill_and_purge() == ROWS
    assert [number for number in deleted if number] == [5, 5, 5, 5, 3]
