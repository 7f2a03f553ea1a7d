"""/v1/pool: an operator sees the hosts of the pool and how long the ministry's agents wait; nobody else does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from diwan.domain.actor import Role, agent
from diwan.store import calls, runs
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.pool_hosts import ENDED, OUT, SERVING, HostSigns, give_sign
from tests.support.factories import CLERK, TENANT, person
from tests.web.conftest import Service, an_event

OPERATOR = person("operator-1", Role.OPERATOR)
SIGNS = HostSigns(
    *("host-1", "m", "0.32.0", SERVING, ""),
    *(3, 4, 2, 2, 1, 0.5),
    *(1000, 750),
    *("a" * 64, "", "unknown"),
)


@pytest.fixture
async def pool(service: Service) -> AsyncGenerator[Database]:
    made = Database.connect(service.database.url("diwan_pool"), role="diwan_pool")
    yield made
    with service.database.superuser() as connection:
        connection.execute("delete from pool_host")
    await made.dispose()


Give = Callable[[HostSigns], Any]


@pytest.fixture
def give(pool: Database) -> Give:
    async def given(signs: HostSigns) -> None:
        async with pool.transaction(None) as conn:
            await give_sign(conn, signs)

    return given


async def shown(service: Service) -> dict[str, Any]:
    answer = await service.get("/v1/pool", OPERATOR)
    assert answer.status_code == 200
    return answer.json()


async def test_hosts_are_shown_as_they_said_last_and_added_up_by_model(service: Service, give: Give) -> None:
    await give(replace(SIGNS, calls=1))
    await give(SIGNS)
    await give(replace(SIGNS, host="host-2", room=4, calls=0, prefix_queries=0, prefix_hits=0))
    await give(replace(SIGNS, host="host-3", state=OUT, reason="hung"))
    await give(replace(SIGNS, host="host-4", model="other", state=ENDED))
    view = await shown(service)
    states = {host["host"]: (host["state"], host["reason"], host["calls"]) for host in view["hosts"]}
    assert states == {
        "host-1": (SERVING, "", 2),
        "host-2": (SERVING, "", 0),
        "host-3": (OUT, "hung", 2),
        "host-4": (ENDED, "", 2),
    }
    assert view["models"] == [
        {"model": "m", "hosts": 3, "serving": 2, "room": 7, "calls": 2, "prefix_hit_share": 0.75},
        {"model": "other", "hosts": 1, "serving": 0, "room": 0, "calls": 0, "prefix_hit_share": None},
    ]


async def test_a_host_that_falls_silent_counts_no_more_and_after_a_day_is_gone(service: Service, give: Give) -> None:
    await give(SIGNS)
    with service.database.superuser() as connection:
        connection.execute("update pool_host set seen_at = seen_at - interval '1 minute'")
    view = await shown(service)
    assert [host["state"] for host in view["hosts"]] == ["silent"]
    assert view["models"][0]["serving"] == 0
    with service.database.superuser() as connection:
        connection.execute("update pool_host set seen_at = seen_at - interval '1 day'")
    assert (await shown(service))["hosts"] == []


async def test_since_is_when_it_came_to_its_state(service: Service, give: Give) -> None:
    await give(SIGNS)
    (first,) = (await shown(service))["hosts"]
    await give(replace(SIGNS, calls=0))
    (again,) = (await shown(service))["hosts"]
    await give(replace(SIGNS, state=OUT, reason="junk"))
    (out,) = (await shown(service))["hosts"]
    assert first["since"] == again["since"] < out["since"]


async def test_agents_wait_from_their_last_call_until_the_next_is_under_way(service: Service, pool: Database) -> None:
    case = (await service.send(an_event())).json()["case"]
    cipher = await service.keyring.cipher(TENANT, case)
    began = service.clock.now
    worker = Database.connect(service.database.url("diwan_worker"), role="diwan_worker")
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=began) as change:
        run = await runs.start_run(change, "examine", 1, spec="s", prompts="1")
        change.record("agent:run:started", agent(TENANT, "s"), cipher=cipher)
    await worker.dispose()

    async def send(call: int, attempt: int) -> None:
        async with pool.transaction(TENANT) as conn:
            calls.store_request(
                conn,
                TENANT,
                case_id=case,
                run=run.id,
                call=call,
                attempt=attempt,
                final=False,
                model="m",
                host="host-1",
                request=b"q",
                cipher=cipher,
                now=service.clock.now,
            )

    service.clock.pass_(seconds=30)
    assert (await shown(service))["waiting"] == [{"tenant": TENANT, "runs": 1, "oldest_s": 30.0}]
    await send(1, 1)
    assert (await shown(service))["waiting"] == [{"tenant": TENANT, "runs": 0, "oldest_s": 0.0}]
    service.clock.pass_(seconds=10)
    now = service.clock.now
    async with pool.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
        calls.store_failure(change, cipher, run=run.id, call=1, attempt=1, reason="engine.failed", body=None)
        change.record("agent:model:failed", agent(TENANT, "s"), cipher=cipher)
    service.clock.pass_(seconds=5)
    assert (await shown(service))["waiting"] == [{"tenant": TENANT, "runs": 1, "oldest_s": 5.0}]
    assert service.clock.now - began == timedelta(seconds=45)


async def test_only_an_operator_sees_the_pool(service: Service) -> None:
    assert (await service.get("/v1/pool", CLERK)).status_code == 403
