"""/v1/clock: people see that legal dates stand still, and one of them says that the time is right."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from diwan.domain.actor import Role
from tests.support.factories import CLERK, SUPERVISOR, person
from tests.web.conftest import Service, an_event

OPERATOR = person("operator-1", Role.OPERATOR)
DAY = timedelta(days=1)


async def shown(service: Service) -> dict[str, Any]:
    answer = await service.get("/v1/clock", CLERK)
    assert answer.status_code == 200
    return answer.json()


async def test_the_clock_that_never_jumped(service: Service) -> None:
    view = await shown(service)
    assert (view["frozen"], view["since"], view["cases"]) == (False, None, [])
    assert datetime.fromisoformat(view["now"]) == service.clock.now


async def test_an_event_is_taken_while_dates_stand_still_and_a_person_ends_it(service: Service) -> None:
    await shown(service)
    service.machine.ahead = DAY
    accepted = await service.send(an_event())
    assert accepted.status_code == 202
    view = await shown(service)
    assert (view["frozen"], view["why"], view["off_s"]) == (True, "forward", DAY.total_seconds())
    assert accepted.json()["number"] in view["cases"]
    body = {"since": view["since"], "finding": "corrected", "reason": "Compared with the telephone's time."}
    refused = await service.post("/v1/clock/confirmation", CLERK, json=body)
    assert refused.status_code == 403
    early = await service.post("/v1/clock/confirmation", SUPERVISOR, json=body)
    assert (early.status_code, early.json()["code"]) == (409, "clock.not_corrected")
    service.machine.ahead = timedelta(0)
    done = await service.post("/v1/clock/confirmation", SUPERVISOR, json=body)
    assert (done.status_code, done.json()["frozen"]) == (200, False)
    again = await service.post("/v1/clock/confirmation", SUPERVISOR, json=body)
    assert (again.status_code, again.json()["code"]) == (409, "clock.changed")
    with service.database.superuser() as connection:
        kinds = connection.execute("select kind from entry where chain = 'clock/watch' order by seq").fetchall()
    assert kinds == [("clock:jump:noticed",), ("clock:jump:confirmed",)]


async def test_an_operator_confirms_too_and_has_to_say_why(service: Service) -> None:
    await shown(service)
    service.machine.ahead = -DAY
    view = await shown(service)
    body = {"since": view["since"], "finding": "right", "reason": " "}
    assert (await service.post("/v1/clock/confirmation", OPERATOR, json=body)).status_code == 422
    body["reason"] = "It was a day ahead until now."
    assert (await service.post("/v1/clock/confirmation", OPERATOR, json=body)).status_code == 200
    assert not (await shown(service))["frozen"]
