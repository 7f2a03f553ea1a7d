"""Read this first: one application, from the event to the decision letter, through every part of Diwan.

The stack is real: Postgres, Temporal, vault, issuer, web, relay, case worker, pool worker. Only the model is not:
the demo engine speaks vLLM's protocol, and is rules.
"""

from __future__ import annotations

import io

import pypdfium2

from tests.scenario.office import EXAMPLE, Json, Office


async def test_from_event_to_decision(office: Office) -> None:
    # A citizen's application arrives at the portal, with four PDFs, in Arabic. It is accepted at once.
    accepted = await office.submit(EXAMPLE / "01-arabic-granted-100000", "scenario-1")
    case = accepted["case"]
    assert accepted["number"].startswith("DW-")
    assert [document["status"] for document in accepted["documents"]] == ["accepted"] * 4

    # The relay rings, the workflow issues the receipt, the agent reads the dossier and claims facts, each with a
    # quote; the procedure's rules make a proposal of what was verified; a clerk finds it on the worklist.
    review = await office.at(case, "review")
    proposal = review["shown"]["proposal"]
    assert (proposal["assessment"]["result"], proposal["assessment"]["amount"]) == ("granted", 100_000)
    facts = {(fact["name"], fact["provenance"]): fact for fact in proposal["facts"]}
    assert facts["price", "document"]["evidence"]["page"] == 1
    assert facts["price", "declared"]["evidence"] is None
    assert facts["earlier_aid", "registry"]["value"] is False

    # She approves what she was shown. The authority signs, under a delegation valid today.
    await office.approve("clerk", review)
    await office.approve("authority", await office.at(case, "sign"))

    # The decision goes out as a letter in the applicant's language, and the case is closed.
    view = await office.closed(case)
    assert view["result"] == "granted"
    assert [letter["kind"] for letter in view["letters"]] == ["receipt", "decision"]
    assert {letter["language"] for letter in view["letters"]} == {"ar"}
    pdf = await office.call("clerk", "GET", view["letters"][-1]["address"])
    with pypdfium2.PdfDocument(io.BytesIO(pdf.content)) as document:
        assert "100" in document[0].get_textpage().get_text_range()

    # Every step is on the ledger, each entry chained to the one before it.
    story: list[Json] = (await office.get("auditor", f"/v1/cases/{case}/story?limit=200"))["items"]
    kinds = [entry["kind"] for entry in story]
    assert [entry["seq"] for entry in story] == list(range(1, len(story) + 1))
    assert kinds[0] == "event:application:accepted"
    assert [kind for kind in kinds if kind != "case:history:kept"][-1] == "case:decision:issued"
    assert {"letter:letter:issued", "agent:model:called", "agent:tool:called", "task:act:recorded"} <= set(kinds)
