"""The letter that explains a decision says what was recorded of it, and that it was given is on the case's ledger."""

from __future__ import annotations

from typing import Any, cast

import pytest

from diwan.documents.readback import missing_from, text_of
from diwan.domain.errors import NotFound
from diwan.domain.task import TaskAct
from diwan.store.opened_entry import open_entry
from diwan.web.api.explanations import KIND, explain
from diwan.web.dependencies import Dependencies
from tests.activities.office import PIECES, Office
from tests.support.clocks import watch_on
from tests.support.factories import AUTHORITY, CLERK, SUPERVISOR, TENANT


def deps_of(office: Office) -> Dependencies:
    watch = watch_on(office.machine, "web")
    return Dependencies(office.web, office.keyring, cast("Any", None), office.machine.wall, watch)


async def test_a_decision_is_explained_from_what_is_recorded(office: Office) -> None:
    case = await office.reviewed("explained")
    with pytest.raises(NotFound) as caught:
        await explain(deps_of(office), CLERK, case)
    assert caught.value.code == "explanation.no_decision"
    await office.act(CLERK, case, TaskAct.EDIT, reason="La promesse le dit.", changes={"price": 290_000})
    await office.act(SUPERVISOR, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.perform(await office.here(case))

    content, pdf = await explain(deps_of(office), CLERK, case)
    assert missing_from(pdf, content) == []
    (sent,) = [letter for letter in await office.letters(case) if letter.kind == "decision"]
    assert (content.decision, content.language.value) == (sent.number, sent.language)
    assert content.result.value == sent.content["result"]
    assert content.agent is not None
    assert content.agent.edited
    assert content.asked == len(await office.entries(case, "agent:model:called"))
    by_label = {fact.label: fact for fact in content.facts}
    assert [fact.value for fact in content.facts if fact.by_person] == [290_000]
    assert len(content.changed) == 1
    assert by_label[content.changed[0]].quote == "", "what a person entered has no words on a page"
    quoted = [fact.quote for fact in content.facts if fact.quote]
    assert len(quoted) > 2
    assert all(quote in " ".join(PIECES.values()) for quote in quoted)
    assert content.signatory.name in text_of(pdf)

    (entry,) = await office.entries(case, KIND)
    assert (entry.seq, content.number.rpartition("/")[2]) == ((await office.row(case)).version, str(entry.seq))
    cipher = await office.keyring.cipher(TENANT, case)
    ((sealed,),) = office.stored("select body_sealed from entry where chain = %s and kind = %s", case, KIND)
    opened = open_entry(cipher, case, entry.seq, bytes(cast("Any", sealed)))
    assert opened.body == content.model_dump(mode="json")
    assert "letter" in opened.committed
