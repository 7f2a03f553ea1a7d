"""`diwan ledger verify` on a real database: what holds, what was tampered with, what is not there."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diwan.domain.actor import system
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.intake import accept_event
from tests.cli.conftest import DiwanProcess
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT, application, envelope, ministry, sender
from tests.support.growing import growing
from tests.support.keyring import MemoryKeyring


@pytest.fixture
async def case(database: TestDatabase, web: Database, keyring: MemoryKeyring, now: datetime) -> str:
    await ministry(database, now=now)
    accepted = await accept_event(web, keyring, envelope("e1"), application("r1"), [], client=sender(), now=now)
    assert accepted.case_id is not None
    return accepted.case_id


def test_what_holds_exits_0_and_what_was_changed_is_named_with_1(
    diwan_process: DiwanProcess, database: TestDatabase, case: str
) -> None:
    url = database.url("diwan_auditor")
    done = diwan_process("ledger", "verify", "--tenant", TENANT, "--output", "json", DIWAN_DATABASE_URL_AUDITOR=url)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["entries"] >= 1, report["cases"], report["first_bad"]) == (True, 1, None)

    with database.superuser() as everything:
        everything.execute("set session_replication_role = replica")
        everything.execute("update entry set kind = 'other' where chain = %s and seq = 1", [case])
    done = diwan_process("ledger", "verify", "--case", case, DIWAN_DATABASE_URL_AUDITOR=url)
    assert done.returncode == 1
    assert f"chain {case}, entry 1" in done.stderr


def test_a_tenant_without_entries_is_not_found_rather_than_well(
    diwan_process: DiwanProcess, database: TestDatabase
) -> None:
    url = database.url("diwan_auditor")
    done = diwan_process("ledger", "verify", "--tenant", "nobody", DIWAN_DATABASE_URL_AUDITOR=url)
    assert (done.returncode, done.stdout) == (3, "")


def test_without_an_auditors_database_it_says_what_to_set(diwan_process: DiwanProcess) -> None:
    done = diwan_process("ledger", "verify")
    assert done.returncode == 2
    assert "DIWAN_DATABASE_URL_AUDITOR" in done.stderr


async def test_dates_to_ask_about_are_told_with_0(
    diwan_process: DiwanProcess, database: TestDatabase, web: Database, now: datetime
) -> None:
    async with web.transaction("dates") as conn:
        for at in (now, now - timedelta(hours=2)):
            await append_entry(conn, "dates", "tests/dates", "tests:entry:written", system("dates", "t"), now=at)
    url = database.url("diwan_auditor")
    for options in ((), ("--case", "tests/dates")):
        done = diwan_process(
            *("ledger", "verify", "--tenant", "dates", "--output", "json", *options), DIWAN_DATABASE_URL_AUDITOR=url
        )
        report = json.loads(done.stdout)
        assert (done.returncode, report["odd_dates"], report["first_bad"]) == (0, 1, None)
        assert (report["first_odd_dates"][0]["seq"], "no finding" in done.stderr) == (2, True)


async def test_leaves_of_other_ministries_are_told_apart_and_may_be_ruled_out(
    diwan_process: DiwanProcess, database: TestDatabase, tmp_path: Path
) -> None:
    url = database.url("diwan_auditor")
    async with growing(database, tmp_path / "signer") as log:
        await log.grow(2, "first")
        await log.grow(3, "second")

    def verified(*options: str, tenant: str = "first") -> tuple[int, str, dict[str, Any]]:
        done = diwan_process(
            "ledger", "verify", "--tenant", tenant, "--output", "json", *options, DIWAN_DATABASE_URL_AUDITOR=url
        )
        return done.returncode, done.stderr, json.loads(done.stdout or "{}")

    code, said, report = verified("--other", "second=3", "--other", TENANT, "--other", "dates")
    assert (code, report["of_others"]["second"], "first" in report["of_others"]) == (0, 3, False)
    assert "second" in report["unknown"]
    assert "second" in said, "it was never set up here"
    assert verified("--no-others")[0] == 1
    code, said, _ = verified("--other", "second=2", "--other", TENANT, "--other", "dates")
    assert (code, "second has 3 leaves, not 2" in said) == (1, True)
    for wrong in (("--other", "second=many"), ("--other", "=2"), ("--other", "second", "--no-others")):
        assert verified(*wrong)[0] == 2
    with database.superuser() as everything:
        everything.execute("set session_replication_role = replica")
        everything.execute("delete from entry where tenant = 'second'")
    for tenant in ("first", "second"):
        code, said, _ = verified(tenant=tenant)
        assert (code, "leaf" in said) == (1, True), "also where all that a ministry had was taken out"
