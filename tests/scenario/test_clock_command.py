"""`diwan clock` and `diwan doctor` against the real service: a person sees that dates stand still, and ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import psycopg
import pytest

from diwan.embedded.bootstrap import TENANT
from tests.scenario.by_hand import diwan
from tests.scenario.office import Json, Office

REASON = "Compared with the telephone's time."


def stored(office: Office, statement: str) -> list[tuple[object, ...]]:
    """Past row security, as the administrator of the database."""
    with psycopg.connect(office.stack.database_url("postgres"), autocommit=True) as connection:
        done = connection.execute(statement.encode(), [TENANT])
        return done.fetchall() if done.description else []


@pytest.fixture
async def frozen(office: Office) -> AsyncGenerator[None]:
    """As the service leaves it that noticed a clock two hours short of a day ahead; nobody can set this machine's."""
    freeze = (
        "update clock_watch set frozen_at = now(), stands_at = now() - interval '22 hours', reason = 'forward', "
        "off_s = 79200 where tenant = %s"
    )
    await asyncio.to_thread(stored, office, freeze)
    yield
    thaw = "update clock_watch set frozen_at = null, stands_at = null, reason = '', off_s = 0 where tenant = %s"
    await asyncio.to_thread(stored, office, thaw)


async def found(office: Office, *, expect: int) -> Json:
    """What `diwan doctor` finds about legal dates."""
    (finding,) = [each for each in await diwan(office, "doctor", expect=expect) if each["what"] == "legal dates"]
    return finding


async def test_a_person_sees_that_dates_stand_still_and_lets_them_fall_again(office: Office, frozen: None) -> None:
    shown = await diwan(office, "clock", "show")
    assert (shown["frozen"], shown["why"], shown["off_s"]) == (True, "forward", 79_200)
    finding = await found(office, expect=1)
    assert (finding["state"], "diwan clock confirm" in finding["remedy"]) == ("wrong", True)
    confirm = ("clock", "confirm", "--finding", "corrected", "--reason", REASON)
    await diwan(office, *confirm, "--as", "clerk", expect=4)
    await diwan(office, *confirm, "--since", "2026-01-01T00:00:00Z", expect=5)
    after = await diwan(office, *confirm, "--since", shown["since"])
    assert (after["frozen"], after["since"]) == (False, None)
    assert not (await diwan(office, "clock", "show"))["frozen"]
    assert (await found(office, expect=0))["state"] == "ok"
    entries = "select kind from entry where tenant = %s and chain = 'clock/watch' order by seq desc limit 1"
    assert await asyncio.to_thread(stored, office, entries) == [("clock:jump:confirmed",)]


async def test_what_is_confirmed_without_a_name_is_the_freeze_that_is_shown(office: Office, frozen: None) -> None:
    after = await diwan(office, "clock", "confirm", "--finding", "right", "--reason", REASON)
    assert after["frozen"] is False


async def test_dates_that_fall_need_no_confirmation(office: Office) -> None:
    assert not (await diwan(office, "clock", "show"))["frozen"]
    await diwan(office, "clock", "confirm", "--finding", "right", "--reason", REASON, expect=5)
