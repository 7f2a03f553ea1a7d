"""Personal data is nowhere in the clear: not in Temporal's histories, not in a log, not in Postgres's files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from diwan.embedded import binaries
from diwan.store.database import driver_url
from diwan.store.tables import metadata
from diwan.temporal import connect
from diwan.vault import keyfile
from diwan.vault.setup import VaultFiles
from tests.scenario.again import asked, calls_of, ended
from tests.scenario.by_hand import diwan
from tests.scenario.office import EXAMPLE, Office, opening

NAME = "Zoubida Planterose"
TOLD = "Chrysantheme-4711"
NUMBER = "ZZ987654"
PLANTED = (NAME, "Planterose", TOLD, NUMBER)
SAMPLE = json.loads((EXAMPLE / "03-french-permit-too-old" / "application.json").read_text())


@dataclass(frozen=True)
class Planted:
    """A closed case with planted words in it, a document that was uploaded `ahead` for it, a rerun of a call of it."""

    office: Office
    case: str
    ahead: str
    rerun: str


@pytest.fixture(scope="module")
async def planted(office: Office) -> Planted:
    party = {"role": "applicant", "name": NAME, "language": "fr", "identity_number": NUMBER, "address": TOLD}
    document = f"CARTE NATIONALE\nNom : {NAME}\nNationalité : marocaine\nN° CIN : {NUMBER}\nNote : {TOLD}\n".encode()
    # Uploaded ahead: sealed under keys of its own until its event comes.
    files = [("document", ("ahead.txt", f"{NAME}, {TOLD}".encode(), "application/octet-stream"))]
    ahead = (await office.call("intake", "POST", "/v1/documents", files=files)).json()["ref"]
    application = {
        "procedure": "direct-housing-aid",
        "reference": "leak",
        "language": "fr",
        "parties": [party],
        "answers": {**SAMPLE["answers"], "identity_number": NUMBER, "residence": TOLD, "notary": NAME},
        "documents": [{"name": f"{NAME}.txt", "part": "d"}, {"name": "ahead.txt", "ref": ahead}],
    }
    accepted = (await office.send(opening("leak", application), {"d": document})).json()
    case = accepted["case"]
    task = await office.at(case, "request_review")
    assert (await office.act("clerk", task, "reject", reason=f"Known to us: {TOLD}")).status_code == 200
    review = await office.at(case, "review")
    edited = await office.act("clerk", review, "edit", reason=TOLD, changes={"result": "refused"})
    assert edited.status_code == 200
    # An error that echoes its input would be the easiest leak.
    assert (await office.send(opening("leak-2", {**application, "parties": [{"name": NAME}]}))).status_code == 422
    assert (await office.act("clerk", review, "edit", changes={NAME: TOLD}, reason="x")).status_code >= 400

    await office.approve("supervisor", await office.get("supervisor", f"/v1/tasks/{review['id']}"))
    await office.approve("authority", await office.at(case, "sign"))
    assert [letter["kind"] for letter in (await office.closed(case))["letters"]] == ["receipt", "decision"]

    # What a model was told and answered travels once more, and comes back as it was or with where it differs.
    last = (await calls_of(office, case))[-1]
    again = await ended(office, await asked(office, case, last["number"]))
    assert again["status"] == "identical"
    return Planted(office, case, ahead, again["id"])


async def test_what_is_planted_is_found_nowhere(planted: Planted) -> None:
    office, case = planted.office, planted.case
    await checkpoint(office)
    home = office.stack.home.path
    searched = await asyncio.to_thread(leaks, home)
    assert searched == []
    assert await histories_with_leaks(office, case, f"rerun/{planted.rerun}") == []
    # The search itself finds what is there.
    assert {path.split("/")[0] for path in await asyncio.to_thread(leaks, home, (case,))} >= {"postgres", "temporal"}
    assert any(path.startswith("logs/") for path in await asyncio.to_thread(leaks, home, ("issuer.started",)))


async def test_what_is_erased_opens_nowhere_again(planted: Planted) -> None:
    """With every key that the vault has left, whoever holds all files and a backup of before reads nothing of it."""
    office, case = planted.office, planted.case
    kept = (await office.submit(EXAMPLE / "07-arabic-withdrawn", "not-erased"))["case"]
    await office.at(kept, "review")
    backup = await asyncio.to_thread(stored_values, office)
    home = office.stack.home.path
    await asyncio.to_thread(dump, office, home / "before.sql")
    keys = await asyncio.to_thread(keys_of, office)
    gone = {key for key, scope in keys.items() if scope in (case, f"staged/{planted.ahead}")}
    stays = {key for key, scope in keys.items() if scope == kept}
    places = await asyncio.to_thread(opened_places, backup, keys)
    assert places >= OPENED_BEFORE, "the search reads what is not erased"

    await _erase(office, case)

    left = await asyncio.to_thread(keys_of, office)
    assert (len(gone), len(stays)) == (6, 3)
    assert stays <= set(left), "another case keeps its keys"
    assert not gone & set(left)
    now = await asyncio.to_thread(stored_values, office)
    assert await asyncio.to_thread(opened_places, {**backup, **now}, left) == set()
    # Neither the words nor the wrapped keys are in any file: the database's, its log, a dump of before, one of after,
    # Temporal's, the vault's.
    await checkpoint(office)
    await asyncio.to_thread(dump, office, home / "after.sql")
    assert await asyncio.to_thread(leaks, home) == []
    assert await asyncio.to_thread(files_with, home, gone) == []
    assert await asyncio.to_thread(files_with, home, stays) != []
    assert {"before.sql", "after.sql"} <= set(await asyncio.to_thread(leaks, home, (case,)))

    verified = await diwan(office, "ledger", "verify")
    assert verified["first_bad"] is None
    assert verified["erased"] > 0
    proof = home / "erased.proof"
    await diwan(office, "ledger", "prove", f"{case}/1", "-o", str(proof))
    assert proof.stat().st_size > 0


async def _erase(office: Office, case: str) -> None:
    """As people do it: asked for by one, held meanwhile, approved by another."""
    because = ("--reason", f"{NAME} asks.")
    basis = ("--ground", "request", "--basis", "Act No. 00-26, Article 30")
    (asked_for,) = await diwan(office, "erasure", "ask", case, *basis, *because)
    await diwan(office, "erasure", "approve", asked_for["id"], "--as", "supervisor", expect=4)
    await diwan(office, "erasure", "hold", case, *because)
    await diwan(office, "erasure", "approve", asked_for["id"], expect=5)
    await diwan(office, "erasure", "lift", case, *because)
    assert [each["id"] for each in await diwan(office, "erasure", "list")] == [asked_for["id"]]
    await diwan(office, "erasure", "approve", asked_for["id"])
    view = await office.case_when(case, lambda now: [each["status"] for each in now["erasures"]] == ["done"])
    assert (view["parties"], view["erased"]) == ([], ["decision", "evidence", "exchange"])


# --- as a thief reads it: ciphertext, keys, and no knowledge of where anything belongs --------------------------------

OPENED_BEFORE = {
    *("party.party_sealed", "inbox.body_sealed", "document.name_sealed", "blob.bytes_sealed", "page.text_sealed"),
    *("fact.fact_sealed", "model_call.request_sealed", "proposal.proposal_sealed", "decision.decision_sealed"),
    *("task.shown_sealed", "task_act.reason_sealed", "letter.content_sealed", "entry.body_sealed"),
}


def stored_values(office: Office) -> dict[tuple[str, bytes], None]:
    """Every sealed value of the database, with the column that it is in: what is in any backup of it."""
    found: dict[tuple[str, bytes], None] = {}
    with psycopg.connect(office.stack.database_url("postgres"), autocommit=True) as connection:
        for table in metadata.tables.values():
            for column in (each.name for each in table.columns if each.name.endswith("_sealed")):
                question = sql.SQL("select {0} from {1} where {0} is not null").format(
                    sql.Identifier(column), sql.Identifier(table.name)
                )
                for (value,) in connection.execute(question):
                    found[f"{table.name}.{column}", bytes(value)] = None
    return found


def keys_of(office: Office) -> dict[bytes, str]:
    """What the vault's files hold: wrapped key → its scope, each of which the ministry's own key unwraps."""
    files = VaultFiles.in_folder(office.stack.home.path / "vault")
    assert isinstance(files.key, Path)
    keks = keyfile.load(files.key)
    with contextlib.closing(sqlite3.connect(f"{files.database.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT tenant, scope, class, kek, wrapped FROM data_key WHERE wrapped IS NOT NULL")
        return {_unwrapped(keks, *row): row[1] for row in rows.fetchall() if row[1]}


def _unwrapped(
    keks: keyfile.KeyEncryptionKeys, tenant: str, scope: str, class_: str, kek: str, wrapped: bytes
) -> bytes:
    """The wrapped key, with the key itself behind it."""
    return wrapped + keks.unwrap(kek, wrapped, tenant, scope, class_)


def opened_places(values: Mapping[tuple[str, bytes], None], keys: Collection[bytes]) -> set[str]:
    """Columns in which some key opens a value with a planted word. By the keystream alone: no tag, no place."""
    needles = [word.encode() for word in PLANTED]
    found: set[str] = set()
    for place, value in values:
        if place not in found and any(_holds(_stream(key[-32:], value), needles) for key in keys):
            found.add(place)
    return found


def _stream(key: bytes, value: bytes) -> bytes:
    """What AES-GCM enciphered (one byte version, twelve of nonce, a tag at the end)."""
    counter = Cipher(algorithms.AES(key), modes.CTR(value[1:13] + b"\x00\x00\x00\x02")).decryptor()
    return counter.update(value[13:-16])


def _holds(plain: bytes, needles: list[bytes]) -> bool:
    with contextlib.suppress(zlib.error):
        plain += zlib.decompress(plain)
    return any(needle in plain for needle in needles)


def files_with(home: Path, keys: Collection[bytes]) -> list[str]:
    """Files that hold a wrapped key, or the key itself."""
    needles = [part for key in keys for part in (key[:-32], key[-32:])]
    contents = (
        (path, path.read_bytes()) for path in sorted(home.rglob("*")) if path.is_file() and not path.is_symlink()
    )
    return [str(path.relative_to(home)) for path, content in contents if any(needle in content for needle in needles)]


def dump(office: Office, path: Path) -> None:
    """A backup as operators make it."""
    program = binaries.postgres("pg_dump", None)
    subprocess.run([program, "--file", path, office.stack.database_url("postgres")], check=True)


def leaks(home: Path, planted: tuple[str, ...] = PLANTED) -> list[str]:
    """Files under the stack's home that hold a planted string, as UTF-8 or UTF-16; nothing is left out."""
    needles = [word.encode(encoding) for word in planted for encoding in ("utf-8", "utf-16-le")]
    found: list[str] = []
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(needle in content for needle in needles):
                found.append(str(path.relative_to(home)))
    return found


async def histories_with_leaks(office: Office, case: str, *more: str) -> list[str]:
    """Ids of the case's workflows whose history, as Temporal gives it out, holds a planted string."""
    client = await connect(office.stack.urls.temporal, "diwan")
    found: list[str] = []
    ids = [f"demo/{case}", f"demo/{case}/examine/1", *(f"demo/{case}/{each}" for each in more)]
    for workflow_id in ids:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        assert len(history.events) > 5
        # JSON has payloads in base64: look into their bytes.
        raw = b"".join(event.SerializeToString() for event in history.events)
        if any(word.encode() in raw for word in PLANTED):
            found.append(workflow_id)
    return found


async def checkpoint(office: Office) -> None:
    """All that Postgres holds is in its files."""
    engine = create_async_engine(driver_url(office.stack.database_url("postgres")), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("CHECKPOINT"))
    await engine.dispose()
