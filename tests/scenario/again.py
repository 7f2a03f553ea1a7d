"""What an auditor does to have recorded model calls sent again, over HTTP; and a stored answer that somebody spoilt."""

from __future__ import annotations

import asyncio
import uuid

import psycopg

from tests.scenario.office import Json, Office

PATIENCE_S = 300.0


async def calls_of(office: Office, case: str) -> list[Json]:
    return (await office.get("auditor", f"/v1/cases/{case}/calls"))["items"]


async def asked(office: Office, case: str, number: int, *, key: str = "") -> Json:
    headers = {"idempotency-key": key or uuid.uuid4().hex}
    answer = await office.call("auditor", "POST", f"/v1/cases/{case}/calls/{number}/reruns", headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def ended(office: Office, rerun: Json) -> Json:
    async with asyncio.timeout(PATIENCE_S):
        while rerun["status"] == "asked":
            await asyncio.sleep(0.2)
            rerun = await office.get("auditor", f"/v1/cases/{rerun['case']}/reruns/{rerun['id']}")
    return rerun


async def run(office: Office, case: str, call: Json) -> Json:
    """What came of a call that was sent again, as soon as a host is there that may take it."""
    key = uuid.uuid4().hex
    path = f"/v1/cases/{case}/calls/{call['number']}/reruns"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await office.call("auditor", "POST", path, headers={"idempotency-key": key})
            if answer.status_code == 202:
                return await ended(office, answer.json())
            assert answer.json()["code"] == "rerun.no_host", answer.text
            await asyncio.sleep(0.5)


def spoil(office: Office, call: Json) -> None:
    """The stored answer of a call, past every guard: by whoever owns the machine."""
    with psycopg.connect(office.stack.database_url("postgres")) as connection:
        connection.execute("set local session_replication_role = replica")
        spoilt = connection.execute(
            "update model_call set response_sealed = response_sealed || '\\x00' "
            "where run_id = %s and call = %s and attempt = %s",
            (call["run"], call["call"], call["attempt"]),
        )
        assert spoilt.rowcount == 1
