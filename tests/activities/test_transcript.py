"""What a pool worker keeps of a run: only what cannot change, not longer than the key's copy, not of every run."""

from __future__ import annotations

import pytest

from activities.transcript import Fresh, Transcripts, parsed_answer, read_transcript
from agents.loop import Turn
from agents.parse import Parsed
from agents.registry import spec_of
from agents.spec import AgentSpec
from diwan.domain.ports import Cipher
from diwan.store import calls
from tests.activities.office import Office, Wire
from tests.support.factories import TENANT
from workflows.calls import RunStart, StepRef


async def asked(office: Office, reference: str) -> tuple[StepRef, RunStart]:
    """A run whose first answer asks for tools that nobody has carried out."""
    step, run = await office.examining(reference)
    async with office.engine(Wire(None)) as model:
        await office.ask(model, step, run, 1, final=False)
    return step, run


async def test_what_is_kept_reads_as_what_is_stored(office: Office) -> None:
    step, run = await asked(office, "kept")
    cipher, spec, kept = await office.keyring.cipher(TENANT, step.case), spec_of(run.spec), Transcripts()

    async def the_turn() -> Turn:
        async with office.pool.transaction(TENANT) as conn:
            transcript = await kept.read(conn, TENANT, spec, run.run, cipher)
            assert transcript == await read_transcript(conn, TENANT, spec, run.run, cipher)
        (turn,) = transcript.turns
        return turn

    asked_for = (await the_turn()).runnable
    for request in asked_for:
        await office.tool(step, run, 1, request.position, request.tool)
    assert (await the_turn()).results == (True,) * len(asked_for)


async def test_what_is_kept_is_not_opened_again_unless_under_another_copy_of_the_key(office: Office) -> None:
    step, run = await asked(office, "kept-key")
    for request in (await office.begin(step)).turns[0].runnable:
        await office.tool(step, run, 1, request.position, request.tool)
    opened = [0]

    class Counting:
        """A cipher that counts."""

        def __init__(self, inner: Cipher) -> None:
            self.seal = inner.seal
            self._inner = inner

        def open(self, *given: object) -> bytes:
            opened[0] += 1
            return self._inner.open(*given)  # type: ignore[arg-type]

    inner = await office.keyring.cipher(TENANT, step.case)
    spec, kept = spec_of(run.spec), Transcripts(runs=1)
    one, other = Counting(inner), Counting(inner)

    async def read(cipher: Counting) -> int:
        before = opened[0]
        async with office.pool.transaction(TENANT) as conn:
            assert len((await kept.read(conn, TENANT, spec, run.run, cipher)).turns) == 1  # type: ignore[arg-type]
        return opened[0] - before

    first = await read(one)
    assert first > 0
    assert await read(one) == 0
    assert await read(other) == first
    kept.forget(TENANT, run.run)
    assert await read(other) == first
    async with office.pool.transaction(TENANT) as conn:
        await kept.read(conn, TENANT, spec, "another/run/1", inner)
    assert await read(other) == first


async def test_an_answer_that_just_came_is_not_parsed_again_and_only_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, run = await asked(office, "fresh")
    cipher, spec, kept = await office.keyring.cipher(TENANT, step.case), spec_of(run.spec), Transcripts()
    async with office.pool.transaction(TENANT) as conn:
        stored = await kept.read(conn, TENANT, spec, run.run, cipher)
        (answer,) = (await calls.recorded(conn, TENANT, run.run, cipher)).answers
    parsed: list[bytes] = []

    def counted(_: AgentSpec, body: bytes, *, final: bool, broken_as: str) -> Parsed:
        parsed.append(body)
        return parsed_answer(spec, body, final=final, broken_as=broken_as)

    monkeypatch.setattr("activities.transcript.parsed_answer", counted)

    async def read() -> int:
        before = len(parsed)
        async with office.pool.transaction(TENANT) as conn:
            assert await kept.read(conn, TENANT, spec, run.run, cipher) == stored
        return len(parsed) - before

    as_it_came = stored.exchanges[0].parsed
    kept.came(TENANT, run.run, Fresh(1, answer.body, as_it_came))
    assert await read() == 0
    kept.came(TENANT, run.run, Fresh(1, answer.body + b" ", as_it_came))
    assert await read() == 1, "another attempt's answer counts"
    kept.came(TENANT, run.run, Fresh(2, answer.body, as_it_came))
    assert await read() == 1, "the same bytes for another call"
