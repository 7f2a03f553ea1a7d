"""The relay rings for calls that are to be sent again, until they have ended, and again only after a while."""

from __future__ import annotations

from typing import Any, cast

import pytest
from temporalio.service import RPCError, RPCStatusCode

from diwan.rerun_bell import RerunBell
from diwan.store.reruns import Asked


class Temporal:
    """Notes what is started."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.away = False

    async def start_workflow(self, name: str, given: dict[str, str], **named: Any) -> None:
        if self.away:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        assert (name, named["priority"].priority_key, named["priority"].fairness_key) == ("Rerun", 5, given["tenant"])
        assert named["id"] == f"{given['tenant']}/{given['case']}/rerun/{given['rerun']}"
        self.started.append(given["rerun"])


class Nothing:
    """A database whose transactions do nothing: what is asked is given."""

    def transaction(self, _tenant: None) -> Nothing:
        return self

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


async def test_each_is_rung_for_once_in_a_while_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Asked("t", "c", "r1"), Asked("t", "c", "r2")]

    async def given(_conn: object) -> list[Asked]:
        return list(asked)

    monkeypatch.setattr("diwan.rerun_bell.asked_reruns", given)
    now, temporal = [0.0], Temporal()
    bell = RerunBell(cast("Any", Nothing()), cast("Any", temporal), clock=lambda: now[0])
    temporal.away = True
    assert await bell.pass_once() == 0
    temporal.away = False
    await bell.pass_once()
    await bell.pass_once()
    assert temporal.started == ["r1", "r2"]
    asked.pop(0)
    now[0] = 31.0
    await bell.pass_once()
    assert temporal.started == ["r1", "r2", "r2"]
