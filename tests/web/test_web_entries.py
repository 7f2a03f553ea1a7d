"""/v1/entries: auditors find entries by what they say, in pages that stand still; that they looked is on the ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest

from diwan.domain.actor import Role, system
from diwan.domain.errors import Erased
from diwan.domain.fold import fold
from diwan.domain.ports import RetentionClass
from diwan.store.entries import append_entry
from diwan.store.ledger_check import Report, verify_tenant
from diwan.store.opened_entry import open_entry
from tests.support.databases import TestDatabase
from tests.support.factories import CLERK, SOURCE, TENANT, person
from tests.support.growing import Grower, growing
from tests.web.conftest import Service, an_event

AUDITOR = person("auditor-1", Role.AUDITOR)
Json = dict[str, Any]


@pytest.fixture(scope="module")
async def log(settled: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(settled, tmp_path_factory.mktemp("signer")) as made:
        yield made


async def a_case(service: Service, log: Grower, **party: str) -> str:
    """A case with two entries, in the log."""
    person_ = {"role": "applicant", "name": "Zineb Exemplaire", "identity_number": "ZZ 100001"} | party
    answers = {"answers": an_event()["data"]["answers"] | {"identity_number": person_["identity_number"]}}
    accepted = (await service.send(an_event(data={"parties": [person_], **answers}))).json()
    await service.send(
        {
            **{"specversion": "1.0", "id": f"w-{accepted['case']}", "source": SOURCE},
            **{"type": "diwan.application.withdrawn", "subject": accepted["case"], "data": {"note": "merci"}},
        }
    )
    await log.grow(1)
    return str(accepted["case"])


async def found(service: Service, **query: Any) -> Json:
    answer = await service.get("/v1/entries", AUDITOR, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def places(page: Json) -> list[tuple[str, int]]:
    return [(each["chain"], each["seq"]) for each in page["items"]]


async def test_entries_of_a_case_are_found_newest_first_with_their_place(service: Service, log: Grower):
    case = await a_case(service, log)
    page = await found(service, case=case)
    assert places(page) == [(case, 2), (case, 1)]
    assert (page["next"], page["waiting"]) == (None, 0)
    assert [each["header"]["kind"] for each in page["items"]] == [
        "event:withdrawal:accepted",
        "event:application:accepted",
    ]
    entry = page["items"][0]
    assert entry["header"]["case_seq"] == 2
    tile = await service.get(f"/ledger/{entry['log']}/tile/0/000.p/{entry['index'] + 1}", AUDITOR)
    assert tile.content[-32:].hex() == entry["hash"]


async def test_each_thing_that_an_entry_is_found_by(service: Service, log: Grower):
    case = await a_case(service, log)
    for query, kinds in (
        ({"kind": "event:application:accepted"}, ["event:application:accepted"]),
        ({"actor": "portal"}, ["event:withdrawal:accepted", "event:application:accepted"]),
        ({"actor": "nobody"}, []),
        ({"tool": "read_page"}, []),
        ({"model": "demo"}, []),
        ({"overridden": "true"}, []),
        ({"since": "2026-11-24T00:00:00Z"}, []),
        ({"until": "2026-11-23T00:00:00Z"}, []),
        ({"since": "2026-11-23T00:00:00Z", "until": "2026-11-24T00:00:00Z"}, None),
        ({"procedure": "direct-housing-aid"}, None),
        ({"procedure": "direct-housing-aid", "version": "0"}, []),
    ):
        got = [each["header"]["kind"] for each in (await found(service, case=case, **query))["items"]]
        assert got == (["event:withdrawal:accepted", "event:application:accepted"] if kinds is None else kinds), query


async def test_pages_stand_still_while_entries_arrive(service: Service, log: Grower):
    cases = [await a_case(service, log) for _ in range(3)]
    whole = places(await found(service, kind="event:application:accepted", limit=200))
    assert set(cases) <= {chain for chain, _ in whole}
    shown: list[tuple[str, int]] = []
    cursor = ""
    while True:
        page = await found(service, kind="event:application:accepted", limit=1, cursor=cursor)
        shown += places(page)
        cursor = page["next"]
        if cursor is None:
            break
        await a_case(service, log)  # one more, in none of the pages; and one of an earlier instant, which came late
        late, sender = "event:application:accepted", system(TENANT, "late")
        async with service.db.transaction(TENANT) as conn:
            await append_entry(conn, TENANT, "tests/late", late, sender, now=service.clock.now - timedelta(days=1))
        await log.grow(0)
    assert shown == whole


async def test_a_cursor_is_that_of_its_search(service: Service, log: Grower):
    await a_case(service, log)
    cursor = (await found(service, limit=1))["next"]
    for query in ({"kind": "x:y:z", "cursor": cursor}, {"cursor": cursor[:-3]}, {"cursor": "x"}):
        answer = await service.get("/v1/entries", AUDITOR, params=query)
        assert (answer.status_code, answer.json()["code"]) == (422, "list.bad_cursor")


async def by_person(service: Service, **said: Any) -> httpx.Response:
    return await service.post("/v1/entries/search", AUDITOR, json=said)


async def test_a_person_is_found_by_name_or_number_however_they_are_written(service: Service, log: Grower):
    case = await a_case(service, log, name="Aïcha Exemplaire-Bennani", identity_number="QA 4711")
    for said in (
        {"name": "aicha  EXEMPLAIRE-bennani"},
        {"identity_number": "qa-4711"},
        {"name": "Aïcha Exemplaire-Bennani", "identity_number": "QA4711"},
    ):
        assert places((await by_person(service, **said)).json()) == [(case, 2), (case, 1)]
    for said in ({"name": "Aïcha"}, {"name": "Aïcha Exemplaire-Bennani", "identity_number": "QA4712"}):
        assert places((await by_person(service, **said)).json()) == []
    for said in ({"name": "  "}, {"identity_number": "--"}):
        assert (await by_person(service, **said)).json()["code"] == "ledger.nobody_named"


async def test_a_search_is_on_the_ledger_without_whom_it_was_for(service: Service, log: Grower):
    """Whom, and what nothing was found by: at times a name is put into another field. Sealed under the month's keys."""
    case = await a_case(service, log, name="Omar Exemplaire-Secret", identity_number="QB 4712")
    asked = {"name": "Omar Exemplaire-Secret", "kind": "event:application:accepted", "case": case}
    to_find_nothing = {"actor": "Omar Exemplaire-Secret", "tool": "QB4712", "case": case}
    searcher = person("auditor-who-searched", Role.AUDITOR)
    for each in (asked, to_find_nothing):
        await service.post("/v1/entries/search", searcher, json=each, headers={"Diwan-Purpose": "complaint/2026-17"})
    await log.grow(0)
    nothing, entry = (await found(service, kind="audit:entries:searched", case=case))["items"]
    header = entry["header"]
    assert (entry["chain"], header["purpose"]) == ("reads/auditor-who-searched", "complaint/2026-17")
    keys = header["detail"].pop("keys")
    assert header["detail"] == {
        **{"by_kind": "event:application:accepted", "by_person": True, "case": case},
        **{"found": 1, "later_page": False},
    }
    assert nothing["header"]["detail"] == {"case": case, "keys": keys, "found": 0, "later_page": False}
    for each in (entry, nothing):
        assert "Secret" not in json.dumps(each)
        assert "4712" not in json.dumps(each["header"]["detail"])
        assert each["header"]["commitments"].keys() == {"fields"}
    token = await service.keyring.token(TENANT, "audit.person", f"{folded('Omar Exemplaire-Secret')}\x1f")
    assert await said_of(service, entry, keys) == {"person": token}
    assert await said_of(service, nothing, keys) == {"actor": "Omar Exemplaire-Secret", "tool": "QB4712"}
    assert (await verified(service)).erased == 0
    # With the keys of the month nobody can tell any more whom it was for, with the vault neither.
    await service.keyring.destroy(TENANT, keys, [*RetentionClass], "0" * 64)
    with pytest.raises(Erased):
        await said_of(service, entry, keys)
    assert token not in json.dumps(header)
    assert (await verified(service)).erased >= 2


async def verified(service: Service) -> Report:
    """What was searched is as it was written; other tests of this ledger have keys of their own."""
    async with service.db.transaction(TENANT, snapshot=True) as conn:
        report = await verify_tenant(conn, TENANT, keyring=service.keyring, chain="reads/auditor-who-searched")
    assert (report.first_bad, report.bodies + report.erased > 0) == (None, True)
    return report


def folded(name: str) -> str:
    return " ".join(fold(name).split())


async def said_of(service: Service, found_entry: Json, keys: str) -> Any:
    """What is sealed beside the header, with the keys that it names."""
    chain, seq = found_entry["chain"], found_entry["seq"]
    cipher = await service.keyring.cipher(TENANT, keys)
    with service.database.superuser() as connection:
        query = "SELECT body_sealed FROM entry WHERE tenant = %s AND chain = %s AND seq = %s"
        row = connection.execute(query, [TENANT, chain, seq]).fetchone()
    assert row is not None
    opened = open_entry(cipher, chain, seq, bytes(cast("bytes", row[0])))
    opened.check(found_entry["header"]["commitments"])
    return opened.body


async def test_an_auditor_of_a_long_name_reads_and_searches(service: Service, log: Grower):
    """The issuer's subjects may have 200 characters, and so may a chain's name."""
    for length in (120, 200):
        long = person("a" * length, Role.AUDITOR)
        assert (await service.get("/v1/entries", long)).status_code == 200
        assert (await service.get("/v1/cases", long)).status_code == 200


async def test_what_has_no_place_yet_is_not_found_and_counted(service: Service, log: Grower):
    await log.grow(0)
    assert (await found(service, limit=1))["waiting"] == 0
    await service.send(an_event())
    assert (await found(service, limit=1))["waiting"] == 2  # with the search before


async def test_only_auditors_search(service: Service, log: Grower):
    assert (await service.get("/v1/entries", CLERK)).status_code == 403


async def test_an_index_that_says_something_else_than_an_entry_is_found_out(service: Service, log: Grower):
    case = await a_case(service, log)
    await found(service, case=case)
    with service.database.superuser() as connection:
        connection.execute("UPDATE ledger_index SET actor = 'somebody' WHERE case_of = %s AND seq = 1", [case])
    answer = await service.get("/v1/entries", AUDITOR, params={"actor": "somebody"})
    assert (answer.status_code, answer.json()["code"]) == (500, "ledger.index_differs")
