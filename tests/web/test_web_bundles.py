"""POST /v1/cases/{case}/bundles: an auditor takes the file of a case along, which proves itself; the ledger knows."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from diwan.domain.actor import Actor, Role
from diwan.ledger.checkpoint import parse_checkpoint
from diwan.ledger.note import new_key, parse_note, parse_vkey
from diwan.ledger.policy import Policy, Witness
from diwan.ledger.witnessed import Growth
from diwan.standalone.verify_bundle import Verified, verify
from diwan.store.change import change_case
from diwan.witness.memory import Memory, initialise
from tests.ledger.logs import MemoryLog
from tests.support.databases import TestDatabase
from tests.support.factories import CLERK, SOURCE, person
from tests.support.growing import Grower, growing
from tests.web.conftest import Service, an_event

AUDITOR = person("auditor-1", Role.AUDITOR)


@pytest.fixture(scope="module")
async def log(settled: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(settled, tmp_path_factory.mktemp("signer")) as made:
        yield made


@pytest.fixture
async def case(service: Service, log: Grower) -> str:
    """A case with two entries, in the log."""
    accepted = (await service.send(an_event())).json()
    await service.send(
        {
            **{"specversion": "1.0", "id": f"w-{accepted['case']}", "source": SOURCE},
            **{"type": "diwan.application.withdrawn", "subject": accepted["case"], "data": {"note": "merci"}},
        }
    )
    await log.grow(1)
    return accepted["case"]


async def given(service: Service, case: str, query: str = "", actor: Actor = AUDITOR) -> httpx.Response:
    return await service.post(f"/v1/cases/{case}/bundles{query}", actor)


def held(answer: httpx.Response, log: Grower, folder: Path) -> Verified:
    """What the program that shares no code with us finds in it."""
    assert answer.status_code == 200, answer.text
    signers = log.memory.keys()
    policy, file = folder / "policy", folder / "bundle.zip"
    policy.write_text("".join(f"log {vkey}\n" for vkey in signers) + "quorum none\n")
    file.write_bytes(answer.content)
    return verify(file, policy)


async def test_a_bundle_holds_without_us(service: Service, case: str, log: Grower, tmp_path: Path):
    answer = await given(service, case)
    assert answer.headers["content-type"] == "application/zip"
    found = held(answer, log, tmp_path)
    assert (found.tenant, found.case, found.withheld) == ("demo", case, [])
    assert found.entries == found.disclosed == 2
    assert len(found.procedures) == 1


async def test_what_is_withheld_stays_sealed(service: Service, case: str, log: Grower, tmp_path: Path):
    answer = await given(service, case, "?withhold=1")
    found = held(answer, log, tmp_path)
    assert (found.entries, found.disclosed, found.withheld) == (2, 1, [1])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert "bodies/000001.json" not in packed.namelist()
        assert "not disclosed" in packed.read("story.html").decode()


@pytest.mark.parametrize("said", ["3", "77", "0", "77/reason", "1&withhold=77", "77/reason&withhold=77"])
async def test_what_is_not_there_cannot_be_withheld(
    service: Service, case: str, log: Grower, settled: TestDatabase, said: str
):
    """A slip in the number would give out what somebody meant to keep back, without a word."""
    auditor = person(f"slip-{''.join(filter(str.isalnum, said))}", Role.AUDITOR)
    answer = await given(service, case, f"?withhold={said}", auditor)
    assert (answer.status_code, answer.json()["code"]) == (404, "ledger.no_such_entry")
    assert answer.json()["detail"] == f"This case has entries 1 to 2, and none of number {said.split('=')[-1][:2]}."
    assert "diwan case show" in answer.json()["remedy"]
    with settled.superuser() as connection:
        query = "select count(*) from entry where chain = %s"
        assert connection.execute(query, (f"exports/{auditor.subject}",)).fetchall() == [(0,)]


async def test_one_field_stays_sealed(service: Service, case: str, log: Grower, tmp_path: Path):
    body: dict[str, Any] = {"reason": "Zineb-Secret", "more": {"iban": "FR76-Secret", "sum": 7}}
    cipher, now = await service.keyring.cipher("demo", case), service.clock()
    async with service.db.transaction("demo") as conn, change_case(conn, "demo", case, now=now) as change:
        change.record("case:case:blocked", AUDITOR, cipher=cipher, body=body)
    async with service.db.transaction("demo") as conn, change_case(conn, "demo", case, now=now) as change:
        change.record("case:period:expired", AUDITOR)  # it says no more than its header
    await log.grow(1)
    answer = await given(service, case, "?withhold=3/reason&withhold=3/more/iban")
    found = held(answer, log, tmp_path)
    assert (found.disclosed, found.withheld) == (3, [])
    assert found.kept_back == ["3/more/iban", "3/reason", "3:state_after", "3:state_before"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        page = packed.read("story.html").decode()
        inside = "".join(packed.read(name).decode() for name in packed.namelist())
        assert json.loads(packed.read("bodies/000003.json"))["body"] == {"more": {"sum": 7}}
    assert "not disclosed: <bdi>more/iban</bdi>, <bdi>reason</bdi>" in page
    assert "Secret" not in inside
    whole = held(await given(service, case, "?withhold=3/reason&withhold=3"), log, tmp_path)
    assert (whole.withheld, whole.kept_back) == ([3], [])
    for nothing in ("3/nothing", "3/reas", "3/more/su", "4/reason"):
        answer = await given(service, case, f"?withhold={nothing}")
        assert (answer.status_code, answer.json()["code"]) == (404, "ledger.no_such_field")


@pytest.mark.parametrize(
    ("language", "direction", "word"),
    [("ar", "rtl", "سجل الملف"), ("fr", "ltr", "Histoire du dossier"), ("en", "ltr", "Story")],
)
async def test_its_story_is_in_the_auditors_language(
    service: Service, case: str, language: str, direction: str, word: str
):
    answer = await given(service, case, f"?language={language}")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        page = packed.read("story.html").decode()
    assert f'<html lang="{language}" dir="{direction}">' in page
    assert word in page
    assert "event:application:accepted" in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


async def test_that_it_was_given_out_is_on_record(service: Service, case: str, settled: TestDatabase):
    auditor = person("auditor-on-record", Role.AUDITOR)
    answer = await given(service, case, actor=auditor)
    with settled.superuser() as connection:
        rows = connection.execute("select header from entry where chain = 'exports/auditor-on-record'").fetchall()
    (header,) = (json.loads(bytes(row[0])) for row in rows)  # type: ignore[arg-type]
    assert header["kind"] == "ledger:bundle:exported"
    assert header["detail"] == {
        **{"case": case, "entries": 2, "withheld": 0},
        "digest": hashlib.sha256(answer.content).hexdigest(),
    }


async def test_nobody_else_gets_one(service: Service, case: str):
    assert (await given(service, case, actor=CLERK)).status_code == 403
    assert (await given(service, case, actor=person("x", Role.AUDITOR, tenant="another"))).status_code == 404
    assert (await given(service, "nothing")).status_code == 404
    assert (await given(service, case, "?language=xx")).status_code == 422
    assert (await given(service, case, "?withhold=x")).status_code == 422


async def test_a_case_whose_entries_are_not_signed_yet_wants_another_try(service: Service, case: str):
    accepted = (await service.send(an_event())).json()
    answer = await given(service, accepted["case"])
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger.not_yet")


async def test_it_is_made_against_what_the_auditor_trusts_and_kept(
    service: Service, case: str, log: Grower, tmp_path: Path
):
    """A witness cosigned one checkpoint by file; the log has grown since, and grew from what the auditor kept."""
    initialise(tmp_path / "witness", "court.example/1")
    witness = Memory(tmp_path / "witness", lambda: datetime.now(UTC))
    keys = list(map(parse_vkey, log.memory.keys()))
    witness.follow(*keys)
    kept = (await service.http.get("/ledger/checkpoint")).text
    cosigned = witness.add(Growth(0, (), parse_note(kept.encode())))
    witness.close()
    await log.keep(cosigned, Policy(tuple(keys), (Witness("court", witness.verifier),)))
    await log.grow(300)
    logs = "".join(f"log {each}\n" for each in keys)
    policy = f"{logs}witness court {witness.verifier}\nquorum court\n"

    answer = await service.post(f"/v1/cases/{case}/bundles", AUDITOR, json={"policy": policy, "since": [kept]})
    (tmp_path / "policy").write_text(policy)
    (tmp_path / "kept").write_text(kept)
    (tmp_path / "bundle").write_bytes(answer.content)
    found = verify(tmp_path / "bundle", tmp_path / "policy", [tmp_path / "kept"])
    size = parse_checkpoint(parse_note(kept.encode()).text).size
    assert (list(found.logs.values()), list(found.grown_from.values())) == ([size], [size])

    answer = await service.post(
        f"/v1/cases/{case}/bundles", AUDITOR, json={"policy": f"{logs}quorum none\n", "since": [kept]}
    )
    found = held(answer, log, tmp_path)
    assert (list(found.logs.values()), list(found.grown_from.values())) == ([size + 300], [size])

    served = (await service.http.get("/ledger/witnessed")).text
    assert "court.example/1" in served
    assert "court.example/1" not in (await service.http.get("/ledger/checkpoint")).text
    stranger = f"{logs}witness court {new_key('court.example/1', 4).verifier}\nquorum court\n"
    for body, code in (
        ({"policy": stranger}, "ledger.not_witnessed"),
        ({"policy": "log nothing\n"}, "policy.malformed"),
        ({"since": ["x"]}, "ledger.kept_malformed"),
        ({"since": [kept, kept]}, "ledger.kept_twice"),
        ({"since": [long_note("other.example/2026")]}, "ledger.kept_of_another_log"),
        ({"since": [long_note(keys[0].name)]}, "ledger.shorter_than_kept"),
        ({"nothing": 1}, "http.body_invalid"),
    ):
        answer = await service.post(f"/v1/cases/{case}/bundles", AUDITOR, json=body)
        assert answer.json()["code"] == code


def long_note(origin: str) -> str:
    log = MemoryLog(new_key(origin))
    log.add(*(b"x" for _ in range(3000)))
    return bytes(log.checkpoint()).decode()
