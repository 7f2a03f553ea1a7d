"""The other side: the same tables without a ledger, and with an audit table that a trigger writes, as most systems do.

A copy of the service's database in which what demands an entry is switched off. The same code changes the same rows;
an audit row has both versions of a row as JSON, who and when. It holds values in clear and anybody with its owner's
role may change it: that it costs less is the point of comparing.
"""

from __future__ import annotations

from datetime import datetime

import orjson
import psycopg

from diwan.domain.case import CaseState
from diwan.domain.errors import Conflict
from diwan.store.change import SELECT_CASE, CaseRow
from diwan.store.connection import ONE_ROW, Connection, Statement

DATABASE = "plain"
AUDITED = ("case_file", "fact")

_WITHOUT_LEDGER = """
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT conrelid::regclass AS tied, conname FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'entry'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', each.tied, each.conname);
    END LOOP;
END $$;
ALTER TABLE case_file DISABLE TRIGGER USER;
ALTER TABLE fact DISABLE TRIGGER USER;
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    role text NOT NULL DEFAULT session_user,
    tenant text NOT NULL,
    relation text NOT NULL,
    operation text NOT NULL,
    before jsonb,
    after jsonb
);
CREATE INDEX audit_of_relation ON audit (tenant, relation, at);
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO audit (tenant, relation, operation, before, after) VALUES (
        NEW.tenant, TG_TABLE_NAME, TG_OP, CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) END, to_jsonb(NEW));
    RETURN NULL;
END $$;
"""


def take_ledger_away(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Of the copy that `connection`, a superuser's, is to; the audit's triggers come switched off."""
    connection.execute(_WITHOUT_LEDGER)
    for table in AUDITED:
        connection.execute(
            f"CREATE TRIGGER {table}_audited AFTER INSERT OR UPDATE ON {table} "  # pyright: ignore[reportArgumentType]
            f"FOR EACH ROW EXECUTE FUNCTION audit_row()"
        )
    switch_audit(connection, on=False)


def switch_audit(connection: psycopg.Connection[tuple[object, ...]], *, on: bool) -> None:
    for table in AUDITED:
        connection.execute(
            f"ALTER TABLE {table} {'ENABLE' if on else 'DISABLE'} TRIGGER {table}_audited"  # pyright: ignore[reportArgumentType]
        )


async def locked(conn: Connection, tenant: str, case: str) -> CaseRow:
    """The case, under its lock, as `change_case` reads it."""
    row = await _LOCK.row(conn, {"tenant": tenant, "id": case})
    if row is None:
        raise Conflict("bench.no_case", "The bench's case is not there.")
    return CaseRow(*row)


def write(conn: Connection, case: CaseRow, state: CaseState, now: datetime) -> None:
    """The columns that a change of Diwan's writes, less the head of its chain."""
    values = {
        "tenant": case.tenant,
        "id": case.id,
        "version": case.version,
        "status": case.status,
        "state": orjson.dumps(state.model_dump(mode="json")).decode(),
        "inbox_last": case.inbox_last,
        "inbox_cursor": case.inbox_cursor,
        "kind": case.kind,
        "wake_at": case.wake_at,
        "blocked": case.blocked,
        "closed_at": case.closed_at,
        "changed_at": now,
    }
    _WRITE.owed(conn, values, otherwise=lambda: Conflict("case.changed", "The case has changed meanwhile."))


_LOCK = Statement(f"{SELECT_CASE} WHERE tenant = :tenant AND id = :id FOR NO KEY UPDATE")
_WRITE = Statement(
    "WITH changed AS (UPDATE case_file SET version = :version + 1, changed_at = :changed_at, status = :status, "  # noqa: S608 - constants of ours
    "state = cast(:state AS jsonb), inbox_last = :inbox_last, inbox_cursor = :inbox_cursor, kind = :kind, "
    "wake_at = :wake_at, blocked = :blocked, closed_at = :closed_at "
    f"WHERE tenant = :tenant AND id = :id AND version = :version RETURNING 1) {ONE_ROW} FROM changed"
)
