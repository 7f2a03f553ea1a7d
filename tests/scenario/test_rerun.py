"""A recorded model call sent again through a whole stack: the same answer, another, and a host that is not the same."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import Receive, Scope, Send

from diwan.embedded.demo_engine.app import MODEL, create_app
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.embedded.demo_registry import demo_registry
from diwan.embedded.parts import OwnEngine
from tests.pool.serving import serving
from tests.scenario.again import PATIENCE_S, asked, calls_of, ended
from tests.scenario.conftest import an_office
from tests.scenario.office import EXAMPLE, Json, Office

KEY = "a-key-of-the-auditors"


@pytest.fixture(scope="module")
async def case(office: Office) -> str:
    """A case that is closed: an auditor comes years later."""
    accepted = await office.submit(EXAMPLE / "03-french-permit-too-old", "rerun")
    await office.approve("clerk", await office.at(accepted["case"], "review"))
    await office.approve("authority", await office.at(accepted["case"], "sign"))
    await office.closed(accepted["case"])
    return accepted["case"]


async def test_the_answer_of_a_closed_case_is_given_again(office: Office, case: str) -> None:
    before = await office.get("auditor", f"/v1/cases/{case}")
    await listed_as(office, case, "")
    calls = await calls_of(office, case)
    assert [call["number"] for call in calls] == list(range(1, len(calls) + 1))
    assert len(calls) > 2
    assert all(call["rerunnable"] and call["hosts"] == ["here"] for call in calls)
    first = await asked(office, case, 2, key=KEY)
    again = await asked(office, case, 2, key=KEY)
    assert again["id"] == first["id"]
    done = await ended(office, first)
    assert (done["status"], done["meaning"], done["tokens"]) == ("identical", "identical", False)
    assert done["same"] == {
        "weights": "yes",
        "tokenizer": "unknown",
        "engine_version": "yes",
        "engine_configuration": "yes",
    }
    # The case stands as it stood; who asked, of which call, and what came is on its ledger.
    after = await office.get("auditor", f"/v1/cases/{case}")
    assert {**after, "version": 0} == {**before, "version": 0}
    story: list[Json] = (await office.get("auditor", f"/v1/cases/{case}/story?limit=200"))["items"]
    asks, ends = (
        next(line for line in story if line["kind"] == kind) for kind in ("call:rerun:asked", "call:rerun:ended")
    )
    assert (asks["actor_kind"], asks["detail"]["number"], asks["detail"]["rerun"]) == ("person", 2, first["id"])
    assert ends["detail"]["outcome"] == "identical"
    assert ends["detail"]["asked_by"] == asks["actor"]


class Switched:
    """The demo engine, which can be made to answer otherwise."""

    def __init__(self) -> None:
        self.failure: Failure | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await create_app(self.failure)(scope, receive, send)


async def pool_with(office: Office, **registered: object) -> None:
    """The pool worker, started anew with another entry of its model in its registry."""
    path = office.stack.home.run / "registry.json"
    known = json.loads(path.read_text())
    known["models"][0] |= registered
    await office.stack.stop_part("pool")
    path.write_text(json.dumps(known))
    await office.stack.start_part("pool")


async def listed_as(office: Office, case: str, why_not: str) -> None:
    """Once the host's next sign of life is read."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if {call["why_not"] for call in await calls_of(office, case)} == {why_not}:
                return
            await asyncio.sleep(0.2)


async def test_another_answer_another_host_and_another_policy() -> None:
    engine = Switched()
    async with serving(engine) as url, an_office(engine=OwnEngine(url, MODEL, demo_registry())) as office:
        accepted = await office.submit(EXAMPLE / "03-french-permit-too-old", "rerun-otherwise")
        case = accepted["case"]
        await office.at(case, "review")
        await listed_as(office, case, "")

        # The engine was changed and says it is the same: found out, and said to prove nothing by itself.
        engine.failure = Failure(Mode.JUNK)
        done = await ended(office, await asked(office, case, 1))
        assert (done["status"], done["meaning"]) == ("differs", "differs_proves_nothing")
        assert done["first"]["part"].startswith("message.")
        engine.failure = None

        # A host with other weights under the same name is not asked, and what is wanted is said.
        (wanted,) = {call["answered_by"]["weights_digest"] for call in await calls_of(office, case)}
        await pool_with(office, weights_digest="0" * 64)
        await listed_as(office, case, "no_such_host")
        answer = await office.call(
            "auditor", "POST", f"/v1/cases/{case}/calls/1/reruns", headers={"idempotency-key": "no-host"}
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "rerun.no_host")
        assert wanted in answer.json()["detail"]
        assert "here (weights differs)" in answer.json()["detail"]

        # The right one again, which may not see such data any more: nothing is sent.
        await pool_with(office, weights_digest=wanted, data_classes=["public"])
        await listed_as(office, case, "")
        done = await ended(office, await asked(office, case, 1))
        assert (done["status"], done["reason"]) == ("not_run", "engine.data_class")

        # And as it was.
        await pool_with(office, data_classes=["public", "personal"])
        await listed_as(office, case, "")
        assert (await ended(office, await asked(office, case, 1)))["status"] == "identical"
        # The case never noticed.
        assert (await office.at(case, "review"))["status"] == "open"
