"""What people decide otherwise than the rules comes out as they decided it, with their reason, in the letter."""

from __future__ import annotations

import asyncio
import io

import pypdfium2

from tests.scenario.office import EXAMPLE, Office, follow_up

TOO_OLD = EXAMPLE / "03-french-permit-too-old"
REASON = "Dérogation accordée par la commission du 2 novembre 2026."


async def test_a_result_set_by_a_person_is_issued_with_her_reason(office: Office) -> None:
    case = (await office.submit(TOO_OLD, "override"))["case"]
    review = await office.at(case, "review")
    changes = {"result": "granted", "amount": 70_000}
    assert (await office.act("clerk", review, "edit", changes=changes, reason=REASON)).status_code == 200
    edited = await office.get("supervisor", f"/v1/tasks/{review['id']}")
    assert (await office.act("clerk", edited, "approve")).status_code == 403
    await office.approve("supervisor", edited)
    await office.approve("authority", await office.at(case, "sign"))
    view = await office.closed(case)
    assert view["result"] == "granted"
    pdf = await office.call("clerk", "GET", view["letters"][-1]["address"])
    with pypdfium2.PdfDocument(io.BytesIO(pdf.content)) as document:
        text = " ".join(page.get_textpage().get_text_range() for page in document)
    assert REASON in " ".join(text.split())
    assert "70 000" in " ".join(text.split())


async def test_what_the_applicant_sends_before_the_signature_is_read_before_it(office: Office) -> None:
    accepted = await office.submit(TOO_OLD, "late-piece")
    case = accepted["case"]
    await office.approve("clerk", await office.at(case, "review"))
    signing = await office.at(case, "sign")
    files = {"note.txt": "Attestation complémentaire du promoteur.".encode()}
    data = {"documents": [{"name": "note.txt", "part": "note.txt"}]}
    sent = await office.send(follow_up("diwan.pieces.supplied", accepted["number"], "late-piece-1", data), files)
    assert sent.status_code == 202
    await office.at(case, "review", visit=2)
    assert (await office.act("authority", signing, "approve")).status_code == 409


async def test_two_applications_of_one_person_at_once_are_not_both_granted(office: Office) -> None:
    folder = EXAMPLE / "04-arabic-price-differs"
    cases = [(await office.submit(folder, f"twice-{number}"))["case"] for number in (1, 2)]
    for case in cases:
        review = await office.at(case, "review")
        assert (await office.act("clerk", review, "edit", changes={"price": 350_000}, reason=REASON)).status_code == 200
        await office.approve("supervisor", await office.get("supervisor", f"/v1/tasks/{review['id']}"))
    tasks = [await office.at(case, "sign") for case in cases]
    answers = await asyncio.gather(*(office.act("authority", task, "approve") for task in tasks))
    assert sorted(answer.status_code for answer in answers) == [200, 403]
    (refused,) = [answer for answer in answers if answer.status_code == 403]
    assert refused.json()["code"] == "task.register_changed"
