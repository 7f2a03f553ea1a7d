"""A running stack says on the ministry's ledger which key wraps its cases' keys."""

from __future__ import annotations

import asyncio

import orjson

from tests.scenario.office import Office
from tests.scenario.test_clock_command import stored

_SAID = "select kind, header from entry where tenant = %s and chain = 'configuration/keys' order by seq"


async def test_the_key_that_wraps_the_cases_keys_is_on_record(office: Office) -> None:
    said = await asyncio.to_thread(stored, office, _SAID)
    for _ in range(100):
        if said:
            break
        await asyncio.sleep(0.2)
        said = await asyncio.to_thread(stored, office, _SAID)
    ((kind, header),) = said
    assert kind == "vault:key:begun"
    assert orjson.loads(header)["detail"]["key"].startswith("kek-")  # type: ignore[arg-type]
