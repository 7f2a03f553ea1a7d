"""Which model a run is asked of: the best that has a host; where none has, the best, for a host may come."""

from __future__ import annotations

import pytest

from diwan.store.pool_hosts import ENDED, OUT, SERVING, HostSigns, give_sign
from diwan.temporal import model_queue
from tests.activities.office import Office


async def says(office: Office, host: str, model: str, state: str) -> None:
    reason = "hangs" if state == OUT else ""
    async with office.pool.transaction(None) as conn:
        await give_sign(conn, HostSigns(host, model, "", state, reason, 4, 4, 0, 0, 0, 0.0, 0, 0, "", "", "unknown"))


async def test_the_best_that_has_a_host_answers(office: Office) -> None:
    office.models = ["best", "second"]
    step, run = await office.examining("second-has-a-host")
    assert run.queue == model_queue("best")  # none has, as yet
    await says(office, "gpu-2", "second", SERVING)
    assert (await office.begin(step)).queue == model_queue("second")
    await says(office, "gpu-1", "best", SERVING)
    assert (await office.begin(step)).queue == model_queue("best")


@pytest.mark.parametrize("state", [OUT, ENDED])
async def test_a_host_that_serves_nobody_does_not_count(office: Office, state: str) -> None:
    office.models = ["best", "second"]
    await says(office, "gpu-1", "best", state)
    await says(office, "gpu-2", "second", SERVING)
    _, run = await office.examining(f"best-is-{state}")
    assert run.queue == model_queue("second")


async def test_a_host_that_gave_no_sign_for_long_does_not_count(office: Office) -> None:
    office.models = ["best", "second"]
    await says(office, "gpu-1", "best", SERVING)
    await says(office, "gpu-2", "second", SERVING)
    with office.database.superuser() as connection:
        connection.execute("update pool_host set seen_at = now() - interval '1 minute' where host = 'gpu-1'")
    _, run = await office.examining("best-is-silent")
    assert run.queue == model_queue("second")


async def test_another_models_host_is_of_no_use_to_those_that_may_not_be_asked(office: Office) -> None:
    office.models = ["best"]
    await says(office, "gpu-2", "second", SERVING)
    _, run = await office.examining("only-best-may")
    assert run.queue == model_queue("best")


async def test_where_no_model_may_serve_nobody_pulls_and_people_take_over(office: Office) -> None:
    office.models = []
    _, run = await office.examining("none-may")
    assert run.queue == model_queue("none-dossier-reading")


async def test_a_run_says_how_urgent_its_case_is_and_what_its_ministry_weighs(office: Office) -> None:
    with office.database.superuser() as connection:
        connection.execute("update tenant set settings = settings || '{\"weight\": 2.5}'")
    step, run = await office.examining("urgent-by-its-dates")
    assert (run.priority, run.weight) == (4, 2.5)
    rises = (await office.row(step.case)).state.rises
    assert rises
    for instant, priority in zip(rises, (3, 2, 1), strict=True):
        office.clock.now = instant
        assert (await office.begin(step)).priority == priority
