"""Histories of a real case: kept, read by Temporal's replayer, carried by a bundle, matched with entries and rows."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zipfile
from typing import Any, LiteralString, cast

import psycopg
import pytest
from psycopg import sql
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from diwan.cli.ledger_reconcile import reconciled
from diwan.reconcile import Reconciled
from diwan.settings import Settings, load
from diwan.temporal import DATA_CONVERTER
from diwan.worker import WORKFLOWS, workflow_runner
from tests.scenario.office import EXAMPLE, Json, Office

PATIENCE_S = 120.0
DOSSIER = EXAMPLE / "03-french-permit-too-old"


@pytest.fixture(scope="module")
async def case(office: Office) -> str:
    """Decided, closed, and both of its runs' histories kept. Refused: who is granted aid gets none in other tests."""
    accepted = await office.submit(DOSSIER, "histories")
    await office.approve("clerk", await office.at(accepted["case"], "review"))
    await office.approve("authority", await office.at(accepted["case"], "sign"))
    await office.closed(accepted["case"])
    left = PATIENCE_S
    with psycopg.connect(office.stack.database_url("postgres"), autocommit=True) as connection:
        # Temporal closes a run a moment after its last activity: looked at again and again, as time would have it.
        while len(await kept_of(office, accepted["case"])) < 2:
            connection.execute("update workflow_run set look_at = now() - interval '1 s' where state = 'open'")
            assert left > 0
            await asyncio.sleep(1)
            left -= 1
    return accepted["case"]


async def kept_of(office: Office, case: str) -> list[Json]:
    story: list[Json] = (await office.get("auditor", f"/v1/cases/{case}/story?limit=200"))["items"]
    return [entry for entry in story if entry["kind"] == "case:history:kept"]


async def bundle_of(office: Office, case: str) -> dict[str, bytes]:
    """The files of a bundle, once the log has all of the case's entries."""
    left = PATIENCE_S
    while (answer := await office.call("auditor", "POST", f"/v1/cases/{case}/bundles")).status_code == 503:
        assert left > 0, answer.text
        await asyncio.sleep(1)
        left -= 1
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def settings_of(office: Office, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As an auditor's command on the stack's machine has them."""
    monkeypatch.setenv("DIWAN_HOME", str(office.stack.home.path))
    return load()


async def compared(office: Office, case: str, monkeypatch: pytest.MonkeyPatch, **how: Any) -> Reconciled:
    return await reconciled(settings_of(office, monkeypatch), "demo", case, **how)


async def test_a_bundle_carries_the_histories_and_temporals_replayer_reads_them(office: Office, case: str) -> None:
    kept = await kept_of(office, case)
    assert sorted(entry["detail"]["type"] for entry in kept) == ["AgentRun", "Case"]
    files = await bundle_of(office, case)
    replayer = Replayer(workflows=list(WORKFLOWS), workflow_runner=workflow_runner(), data_converter=DATA_CONVERTER)
    for entry in kept:
        told = entry["detail"]
        content = files[f"histories/{told['type']}-{told['run']}.json"]
        assert hashlib.sha256(content).hexdigest() == told["digest"]
        history = WorkflowHistory.from_json(told["workflow"], content.decode())
        assert len(history.events) == told["events"]
        await replayer.replay_workflow(history)


async def test_the_closing_entry_counts_what_the_case_came_to(office: Office, case: str) -> None:
    story: list[Json] = (await office.get("auditor", f"/v1/cases/{case}/story?limit=200"))["items"]
    (closing,) = [entry for entry in story if entry["detail"].get("closes")]
    assert closing["kind"] == "case:decision:issued"
    told = {kind: sum(entry["kind"] == kind for entry in story[: closing["seq"]]) for kind in ("agent:tool:called",)}
    counted = {name: closing["detail"][name] for name in ("entries", "documents", "letters", "decisions", "tool_calls")}
    assert counted == {
        **{
            "entries": closing["seq"],
            "documents": len(list((DOSSIER / "documents").iterdir())),
            "letters": 2,
            "decisions": 1,
        },
        "tool_calls": told["agent:tool:called"],
    }


async def test_entries_rows_and_histories_match(office: Office, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await compared(office, case, monkeypatch)
    assert [str(each) for each in whole.findings] == []
    assert whole.counts["histories compared"] == 2
    assert whole.counts["entries that name a run"] > 10
    assert whole.counts["entries whose history is not at hand"] == 0
    # Temporal may forget everything of it: what is kept is enough.
    without = await compared(office, case, monkeypatch, without_temporal=True)
    assert (without.findings, without.counts["histories compared"]) == ([], 2)


# What a superuser takes out (table, which of its rows), and what names it. Each is put back.
PLANTED = {
    "a tool's result": ("tool_call", "case_id = %s and position = 0 and call = 1", "tool_call.row_missing"),
    "a notification": ("notification", "case_id = %s", "notification.row_missing"),
    "an entry": ("entry", "chain = %s and kind = 'agent:run:started'", "entry.gap"),
    "the bytes of a history": (
        "blob",
        "hash = (select blob from workflow_run where case_id = %s and state = 'kept' limit 1)",
        "history.bytes_missing",
    ),
    "a run": ("workflow_run", "case_id = %s and state = 'kept'", "workflow_run.row_missing"),
}


@pytest.mark.parametrize("what", PLANTED)
async def test_what_a_superuser_takes_out_is_named(
    office: Office, case: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    table, where, name = PLANTED[what]
    with psycopg.connect(office.stack.database_url("postgres"), autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        for statement in _taken_out(table, where):
            connection.execute(statement, [case])
        try:
            found = await compared(office, case, monkeypatch, without_temporal=True)
        finally:
            connection.execute(_put_back(connection, table))
    assert name in found.by_name, json.dumps(dict(found.by_name))


def _taken_out(table: str, where: str) -> list[sql.Composed]:
    parts = {"table": sql.Identifier(table), "where": sql.SQL(cast(LiteralString, where))}
    keep = "create temporary table taken as select * from {table} where {where}"
    return [sql.SQL(each).format(**parts) for each in (keep, "delete from {table} where {where}")]


def _put_back(connection: psycopg.Connection[Any], table: str) -> sql.Composed:
    """Without the columns that are computed or gone."""
    rows = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and attgenerated = '' "
        "and not attisdropped",
        [table],
    ).fetchall()
    columns = sql.SQL(", ").join(sql.Identifier(row[0]) for row in rows)
    return sql.SQL("insert into {0} ({1}) select {1} from taken").format(sql.Identifier(table), columns)
