"""`diwan ledger keys`: a key begins and ends on the log's own checkpoints, and a line that is forged is found."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from diwan.ledger.note import new_key
from tests.cli.conftest import DiwanProcess
from tests.support.databases import TestDatabase
from tests.support.growing import growing


def an_hour_later(database: TestDatabase) -> None:
    """As if what is kept had been published an hour before."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update ledger_checkpoint set hour = hour - interval '1 hour', published_at = published_at - interval '1 h'"
        )


def named(vkey: str) -> str:
    """As lines name a key: without what verifies."""
    return "+".join(vkey.split("+")[:2])


@pytest.mark.usefixtures("database")
async def test_the_log_says_which_key_signed_from_when_to_when(
    diwan_process: DiwanProcess, database: TestDatabase, tmp_path: Path
) -> None:
    where = {"DIWAN_DATABASE_URL_AUDITOR": database.url("diwan_auditor")}
    assert diwan_process("ledger", "keys", **where).stdout == "Nothing is signed yet.\n"
    async with growing(database, tmp_path / "signer") as log:
        await log.grow(5)
        (old,) = log.memory.keys()
        an_hour_later(database)
        await log.grow(2)
        an_hour_later(database)
        _, new = log.memory.rotate(old.partition("+")[0])
        await log.grow(1)
    policy = tmp_path / "policy"
    policy.write_text(f"log {old}\nquorum none\n")
    done = diwan_process("ledger", "keys", "--policy", str(policy), "--output", "json", **where)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    shown = [(each["key"], each["first_size"], each["last_size"], each["trusted"]) for each in said]
    assert shown == [(named(old), 5, 7, True), (named(new), 8, 8, False)]
    assert said[0]["first_at"] < said[0]["last_at"] < said[1]["first_at"] == said[1]["last_at"]
    table = diwan_process("ledger", "keys", **where).stdout
    assert named(old) in table

    forged = new_key(old.partition("+")[0])
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update ledger_checkpoint set note = overlay(note placing '6' from position('\\x0a370a' in note) + 1 for 1)"
            " where size = 7"
        )
    done = diwan_process("ledger", "keys", "--policy", str(policy), **where)
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not verify" in done.stderr
    policy.write_text(f"log {forged.verifier}\nquorum none\n")
    assert diwan_process("ledger", "keys", "--policy", str(policy), **where).returncode == 0
