"""Model calls over HTTP: listed by number, sent again on a wish that is on the ledger; what would be needed is said."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from agents.compare import compare
from diwan.domain.actor import Role, agent, system
from diwan.domain.errors import NotFound
from diwan.domain.ports import RetentionClass
from diwan.domain.rerun import Conditions, Known, Side
from diwan.ledger.entry import EntryModel
from diwan.store import calls, runs
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.pool_hosts import SERVING, HostSigns, give_sign
from diwan.store.reruns import Came, end_rerun, get_rerun
from tests.support.factories import AUDITOR, CLERK, SUPERVISOR, TENANT, person
from tests.support.keyring import MemoryCipher
from tests.web.conftest import Service, an_event

WEIGHTS, TOKENIZER = "a" * 64, "b" * 64
SIGNS = HostSigns(
    *("host-1", "m", "0.32.0", SERVING, "", 4, 4, 0, 0, 0, 0.0, 0, 0),
    *(WEIGHTS, TOKENIZER, "no"),
)
SAID = {"tokenizer_digest": TOKENIZER, "engine_version": "0.32.0", "batch_invariant": "no", "host": "host-1"}


@dataclass
class Desk:
    """A case with model calls on record, and the pool."""

    service: Service
    case: str
    pool: Database
    cipher: MemoryCipher

    async def call(self, number: int, *, broken: str = "", attempt: int = 1, **detail: Any) -> None:
        """A call that was answered `no`, as the pool worker records it."""
        place: dict[str, Any] = {"run": f"{self.case}/examine/1", "call": number, "attempt": attempt}
        now = self.service.clock.now
        async with self.pool.transaction(TENANT) as conn:
            calls.store_request(
                *(conn, TENANT),
                case_id=self.case,
                **place,
                final=False,
                model="m",
                host="host-1",
                request=b"{}",
                cipher=self.cipher,
                now=now,
            )
        answer = calls.answer_command(
            *(TENANT, self.cipher), **place, body=b"no", broken=broken, engine="e", usage={}, now=now
        )
        async with (
            self.pool.transaction(TENANT) as conn,
            change_case(conn, TENANT, self.case, now=self.service.clock.now) as change,
        ):
            stored = await calls.store_answer(change, answer)
            change.record(
                "agent:model:called",
                agent(TENANT, "s"),
                cipher=self.cipher,
                model=EntryModel(
                    name="m", weights_digest=WEIGHTS, engine="vllm-0.32.0-1f", sampling={"temperature": 0}, seed=1
                ),
                step="examine",
                visit=1,
                attempt=attempt,
                detail={"call": number, "used": stored.used, **SAID, **detail},
            )

    async def host(self, name: str, **said: Any) -> None:
        async with self.pool.transaction(None) as conn:
            await give_sign(conn, replace(SIGNS, host=name, **said))

    async def listed(self) -> list[dict[str, Any]]:
        answer = await self.service.get(f"/v1/cases/{self.case}/calls", AUDITOR)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    async def ask(self, number: int, *, key: str = "", actor: Any = AUDITOR) -> httpx.Response:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return await self.service.post(f"/v1/cases/{self.case}/calls/{number}/reruns", actor, headers=headers)

    async def ends(self, rerun: str, answer: bytes) -> None:
        """As the pool worker ends it."""
        then = Side(model="m", weights_digest=WEIGHTS, tokenizer_digest=TOKENIZER, engine_version="0.32.0")
        then = then.model_copy(update={"fingerprint": "vllm-0.32.0-1f", "batch_invariant": Known.YES})
        came = Came(answer, compare(b"no", answer), Conditions(then=then, now=then, temperature="0", seed=1))
        async with (
            self.pool.transaction(TENANT) as conn,
            change_case(conn, TENANT, self.case, now=self.service.clock.now) as change,
        ):
            row = await get_rerun(conn, TENANT, self.case, rerun)
            await end_rerun(change, row, system(TENANT, "pool"), self.cipher, came=came)


@pytest.fixture
async def desk(service: Service) -> AsyncGenerator[Desk]:
    case = (await service.send(an_event())).json()["case"]
    cipher = await service.keyring.cipher(TENANT, case)
    worker = Database.connect(service.database.url("diwan_worker"), role="diwan_worker")
    now = service.clock.now
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
        await runs.start_run(change, "examine", 1, spec="s", prompts="1")
        change.record("agent:run:started", agent(TENANT, "s"), cipher=cipher)
    await worker.dispose()
    pool = Database.connect(service.database.url("diwan_pool"), role="diwan_pool")
    yield Desk(service, case, pool, cipher)
    with service.database.superuser() as connection:
        connection.execute("delete from pool_host")
    await pool.dispose()


async def test_calls_are_numbered_as_they_were_answered_late_ones_too(desk: Desk) -> None:
    await desk.host("host-1")
    await desk.call(1)
    await desk.call(1, attempt=2)
    await desk.call(2)
    shown = [(call["number"], call["call"], call["attempt"], call["used"]) for call in await desk.listed()]
    assert shown == [(1, 1, 1, True), (2, 1, 2, False), (3, 2, 1, True)]
    (first, *_) = await desk.listed()
    assert first["answered_by"]["weights_digest"] == WEIGHTS
    assert (first["temperature"], first["seed"], first["rerunnable"], first["hosts"]) == ("0", 1, True, ["host-1"])


async def test_each_says_why_it_cannot_be_sent_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.call(1)
    await desk.call(2, broken="endless")
    assert [call["why_not"] for call in await desk.listed()] == ["no_hosts", "broken"]
    await desk.host("host-1", weights_digest="0" * 64)
    assert [call["why_not"] for call in await desk.listed()] == ["no_such_host", "broken"]
    await desk.host("host-2")
    assert [call["why_not"] for call in await desk.listed()] == ["", "broken"]

    def destroyed(self: MemoryCipher, retention: RetentionClass, context: str, plaintext: bytes) -> bytes:
        raise NotFound("vault.key_destroyed", "The key was destroyed.")

    monkeypatch.setattr(MemoryCipher, "seal", destroyed)
    assert [call["why_not"] for call in await desk.listed()] == ["erased", "erased"]
    refused = await desk.ask(1)
    assert (refused.status_code, refused.json()["code"]) == (404, "rerun.erased")


async def test_what_an_old_entry_lacks_is_unknown_and_not_demanded(desk: Desk) -> None:
    await desk.call(1, tokenizer_digest="", engine_version="", batch_invariant="")
    await desk.host("host-1")
    (call,) = await desk.listed()
    by = call["answered_by"]
    assert (by["tokenizer_digest"], by["engine_version"], by["batch_invariant"]) == ("", "", "unknown")
    assert call["rerunnable"]
    await desk.host("host-1", version="0.33.0")  # what the engine said of itself then names another
    assert (await desk.listed())[0]["why_not"] == "no_such_host"


async def test_no_host_that_fits_is_said_with_what_is_wanted_and_what_there_is(desk: Desk) -> None:
    await desk.call(1)
    await desk.host("host-1", tokenizer_digest="0" * 64)
    await desk.host("host-2", model="other")
    answer = await desk.ask(1)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "rerun.no_host")
    for said in (WEIGHTS, TOKENIZER, "0.32.0", "host-1 (tokenizer differs)", "host-2 (model differs)"):
        assert said in problem["detail"]
    assert "diwan pool serve" in problem["remedy"]
    assert desk.service.count("model_rerun", case_id=desk.case) == 0


async def test_a_wish_is_on_the_ledger_and_the_same_key_is_the_same_wish(desk: Desk) -> None:
    await desk.call(1)
    await desk.call(2)
    await desk.host("host-1")
    first = await desk.ask(1, key="k")
    assert first.status_code == 202
    assert (first.json()["status"], first.json()["meaning"]) == ("asked", "asked")
    again = await desk.ask(1, key="k")
    assert again.json()["id"] == first.json()["id"]
    assert (await desk.ask(2, key="k")).json()["code"] == "rerun.key_used"
    assert (await desk.ask(1)).json()["code"] == "rerun.under_way"
    # Another person's keys are another's.
    other = await desk.ask(2, key="k", actor=SUPERVISOR)
    assert other.status_code == 202
    story = (await desk.service.get(f"/v1/cases/{desk.case}/story", AUDITOR)).json()["items"]
    asked = [line for line in story if line["kind"] == "call:rerun:asked"]
    assert [(line["actor"], line["detail"]["number"]) for line in asked] == [
        (AUDITOR.subject, 1),
        (SUPERVISOR.subject, 2),
    ]


async def test_what_came_is_shown_with_where_it_differs_and_what_that_shows(desk: Desk) -> None:
    await desk.call(1)
    await desk.host("host-1")
    rerun = (await desk.ask(1)).json()["id"]
    await desk.ends(rerun, b"nay")
    view = (await desk.service.get(f"/v1/cases/{desk.case}/reruns/{rerun}", SUPERVISOR)).json()
    assert (view["status"], view["meaning"]) == ("differs", "differs_though_invariant")
    assert view["words"].startswith("differs although batch-invariant on both sides")
    assert view["first"] == {"part": "body", "position": 1, "before": "n", "then": "o", "now": "ay"}
    assert set(view["same"].values()) == {"yes"}
    # Its words are in the answer, and nowhere in the clear: not on the ledger, not in the row.
    with desk.service.database.superuser() as connection:
        rows = connection.execute("select row_to_json(r)::text from model_rerun r").fetchall()
        entries = connection.execute("select convert_from(header, 'utf8') from entry").fetchall()
    assert not any('"ay"' in str(row[0]) for row in [*rows, *entries])
    # When it has ended it may be asked for again.
    assert (await desk.ask(1)).status_code == 202


@pytest.mark.parametrize("key", ["", "é\x7f"])
async def test_a_wish_needs_its_key(desk: Desk, key: str) -> None:
    headers = desk.service.as_(AUDITOR) | ({"Idempotency-Key": key} if key else {})
    raw = {name.encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}
    path = f"/v1/cases/{desk.case}/calls/1/reruns"
    answer = await desk.service.http.request("POST", path, headers=list(raw.items()))
    assert (answer.status_code, answer.json()["code"]) == (422, "rerun.key_missing")


async def test_there_is_no_call_beyond_the_last_and_no_rerun_of_another_case(desk: Desk) -> None:
    await desk.call(1)
    await desk.host("host-1")
    assert (await desk.ask(2)).json()["code"] == "rerun.no_such_call"
    rerun = (await desk.ask(1)).json()["id"]
    other = (await desk.service.send(an_event())).json()["case"]
    answer = await desk.service.get(f"/v1/cases/{other}/reruns/{rerun}", AUDITOR)
    assert (answer.status_code, answer.json()["code"]) == (404, "rerun.unknown")


async def test_neither_a_clerk_nor_another_ministry_sees_or_asks(desk: Desk) -> None:
    await desk.call(1)
    await desk.host("host-1")
    assert (await desk.ask(1, actor=CLERK)).status_code == 403
    foreign = person("auditor-2", Role.AUDITOR, tenant="another")
    assert (await desk.ask(1, actor=foreign)).status_code == 404
    rerun = (await desk.ask(1)).json()["id"]
    for path in ("calls", f"reruns/{rerun}"):
        assert (await desk.service.get(f"/v1/cases/{desk.case}/{path}", CLERK)).status_code == 403
        assert (await desk.service.get(f"/v1/cases/{desk.case}/{path}", foreign)).status_code == 404


async def test_entries_hold_no_more_than_they_should(desk: Desk) -> None:
    await desk.call(1)
    await desk.host("host-1")
    rerun = (await desk.ask(1)).json()["id"]
    await desk.ends(rerun, b"no")
    with desk.service.database.superuser() as connection:
        ((header,),) = connection.execute(
            "select header from entry where chain = %s and kind = 'call:rerun:ended'", [desk.case]
        ).fetchall()
    assert isinstance(header, bytes)
    said = json.loads(header)
    assert said["detail"] == {
        **{"rerun": rerun, "number": 1, "entry": said["detail"]["entry"], "asked_by": AUDITOR.subject},
        **{"outcome": "identical", "meaning": "identical", "reason": "", "host": "", "batch_invariant": "yes"},
        **{"weights": "yes", "tokenizer": "yes", "engine_version": "yes", "engine_configuration": "yes"},
    }
    assert {"response", "state_before", "state_after"} == set(said["commitments"])
