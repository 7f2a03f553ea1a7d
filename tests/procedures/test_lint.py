"""What loads can still be doubtful: each doubt is named, with its line, and the sample has none."""

from __future__ import annotations

import pytest

from diwan.domain.errors import InvalidInput
from diwan.procedures.findings import Level
from diwan.procedures.lint import lint, reachable, refuse_unpublishable
from diwan.procedures.load import load_procedure
from tests.procedures.support import sample, text

SIGN = "      - {on: approved, to: sign}\n"
AWAIT = "      - {to: await_pieces}\n"
WITHDRAWN = "    to: withdrawal\n    not_at: [decide, withdrawal]\n"
TARGET = "    start: [{event: diwan.application.submitted}]\n"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (SIGN, SIGN + "      - {on: approved, to: examine}\n", "transition.dead"),
        (AWAIT, AWAIT + AWAIT, "transition.dead"),
        (WITHDRAWN, "    to: examine\n", "step.unreachable"),
        ("when: national\n", "when: price > 1\n", "fact.unused"),
        ("      fr: Délivrance du récépissé", "      fr: '  '", "text.empty"),
        ("      ar: تسليم وصل الإيداع", "      ar: Issue the receipt", "text.script"),
        ("      fr: Délivrance du récépissé", "      fr: '٣'", "text.script"),
        (TARGET, "    start: [{leave: closed}]\n", "period.unstarted"),
        ("    personal: true\n    must_agree: true\n", "    must_agree: true\n", "fact.personal"),
    ],
)
def test_doubts(old: str, new: str, code: str) -> None:
    assert f"procedure.{code}" in {finding.code for finding in lint(text((old, new)))}


def test_a_personal_value_in_a_reason_is_doubtful() -> None:
    place = ("أن صاحب الطلب يحمل", "أن صاحب الطلب {identity_number} يحمل")
    french = ("dossier que le demandeur", "dossier que le demandeur {identity_number}")
    english = ("not show that the applicant", "not show that the applicant {identity_number}")
    found = lint(text(place, french, english))
    assert [finding.code for finding in found] == ["procedure.ground.personal"]
    assert found[0].level is Level.WARNING


def test_the_same_text_twice_is_doubtful() -> None:
    yaml = text(("en: Notarised promise of sale", "en: Promesse de vente établie par un notaire"))
    assert [finding.code for finding in lint(yaml)] == ["procedure.text.same"]


def test_a_piece_nothing_is_read_from_is_doubtful() -> None:
    rooms = ("pieces: [sale_promise, habitation_permit]", "pieces: [sale_promise]")
    yaml = text(rooms, ("pieces: [habitation_permit]", "pieces: [sale_promise]"))
    assert [finding.code for finding in lint(yaml)] == ["procedure.piece.unused"]


def test_errors_come_with_their_line_too() -> None:
    found = lint("schema: diwan.procedure/1\nname: x\nname: y\n")
    assert [(finding.code, finding.line, finding.level) for finding in found] == [("procedure.yaml", 3, Level.ERROR)]
    found = lint("schema: diwan.procedure/1\nname: x\n")
    assert all(finding.level is Level.ERROR for finding in found)


def test_findings_come_in_the_order_of_the_file() -> None:
    yaml = text(("      fr: Délivrance du récépissé", "      fr: ' '"), ("  ar: الدعم المباشر للسكن", "  ar: Aide"))
    lines = [finding.line for finding in lint(yaml)]
    assert len(lines) == 2
    assert lines == sorted(lines)


def test_events_and_dates_lead_to_steps_too() -> None:
    assert reachable(sample()) == set(sample().steps)


@pytest.mark.parametrize(
    ("old", "new", "code", "level"),
    [
        (
            "  evidence:\n    length: 5\n    unit: years",
            "  evidence:\n    length: 119\n    unit: days",
            "before_contest",
            "error",
        ),
        ("  decision:\n    length: 10\n", "  decision:\n    length: 4\n", "decision_last", "error"),
        ("  exchange:\n    length: 2\n", "  exchange:\n    length: 6\n", "exchange", "warning"),
        (
            "(texte fictif)\n      en: Article 22 of Decree No. 2-26-000 (invented text)",
            f"(texte fictif)\n      en: {'x' * 201}",
            "basis_too_long",
            "error",
        ),
    ],
)
def test_data_that_are_kept_too_short_or_in_the_wrong_order(old: str, new: str, code: str, level: str) -> None:
    found = [(each.code, each.level.value) for each in lint(text((old, new)))]
    assert (f"procedure.retention.{code}", level) in found


def test_what_is_kept_is_said_once_and_by_which_text() -> None:
    yaml = text()
    long = yaml[yaml.index("retention:") :]
    short = "retention_years:\n  decision: 10\n  evidence: 5\n  exchange: 2\n"
    assert [each.code for each in lint(yaml.replace(long, short))] == ["procedure.retention.basis"]
    for wrong in ("", long + short):
        assert [each.code for each in lint(yaml.replace(long, wrong))] == ["procedure.retention.one"]
    no_text = "  exchange:\n    length: 2\n    unit: years\n"
    found = lint(yaml[: yaml.index("  exchange:\n    length")] + no_text)
    assert [each.code for each in found] == ["procedure.retention.basis"]


CLOSED = "      - {to: closed}\n"
LABEL = "label: {ar: خطوة, fr: Étape de plus, en: One step more}"
CORRECTION = f"""      - {{to: correction}}
  correction:
    kind: task
    task: review
    roles: [clerk]
    {LABEL}
    next:
      - {{on: approved, when: visit == 1, to: sign}}
      - {{to: closed, result: granted}}
"""
SECOND = f"""      - {{to: again}}
  again:
    kind: act
    letter: decision
    {LABEL}
    next:
      - {{to: closed}}
"""
CONTESTED = f"""      - {{to: contested}}
  contested:
    kind: wait
    events: [office.appeal.filed]
    period: contest
    {LABEL}
    next:
      - {{to: closed, result: granted}}
"""
CONTEST = f"""  contest:
    {LABEL}
    legal_basis: {{ar: نص, fr: texte fictif, en: invented text}}
    nature: fatal
    unit: days
    length: 60
  pieces:
"""
TO_SIGN = ("    on_expiry: closed\n", "    on_expiry: sign\n")
ENDS = "    end: [{enter: decide}, {enter: withdrawal}]\n    silence"
APPEAL = ("on_event:\n", "on_event:\n  - {event: office.appeal.granted, to: review, at: [contested]}\n")


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ([(CLOSED, CORRECTION)], {"decide": "decide → correction → sign → decide"}),
        ([(CLOSED, SECOND)], {"decide": "decide → again"}),
        ([(CLOSED, CONTESTED), ("  pieces:\n    label", CONTEST + "    label")], {}),
        (
            [(CLOSED, CONTESTED), ("  pieces:\n    label", CONTEST + "    label"), APPEAL],
            {"decide": "decide → contested → review → sign → decide"},
        ),
        ([(CLOSED, CONTESTED), ("  pieces:\n    label", CONTEST + "    label"), TO_SIGN], {}),
        (
            [
                (CLOSED, CONTESTED),
                ("  pieces:\n    label", CONTEST + "    label"),
                TO_SIGN,
                (ENDS, ENDS.replace("{enter: decide}, ", "")),
            ],
            {"decide": "decide → contested → sign → decide"},
        ),
        (
            [
                (CLOSED, CONTESTED),
                ("  pieces:\n    label", CONTEST + "    label"),
                TO_SIGN,
                ("start: [{event: diwan.application.submitted}]\n    suspend", "start: [{leave: decide}]\n    suspend"),
            ],
            {"decide": "decide → contested → sign → decide"},
        ),
    ],
    ids=["a step", "another decision", "an end", "an event", "a date that the decision ends", "a date", "a later date"],
)
def test_no_case_is_decided_twice(changes: list[tuple[str, str]], ways: dict[str, str]) -> None:
    """It would stand still at the second: `decision.exists` (tests/activities/test_receipts.py)."""
    yaml = text(*changes)
    found = {each.place: each for each in lint(yaml) if each.code == "procedure.decision.twice"}
    assert set(found) == {f"steps.{name}" for name in ways}
    for name, way in ways.items():
        finding = found[f"steps.{name}"]
        assert (finding.level, way + "." in finding.message) == (Level.ERROR, True)
        assert finding.line == yaml.splitlines().index(f"  {name}:") + 1
    assert [each for each in lint(yaml) if each.level is Level.ERROR and each.place not in found] == []


def test_what_was_broken_off_decided_nothing() -> None:
    """An event takes the case away before the letter is out: there is no decision yet."""
    at = "    at: [examine, request_review, request_letter, review, sign]\n"
    yaml = text((at, at.replace("sign]", "sign, decide]")))
    assert lint(yaml) == []


def test_what_lint_refuses_is_not_published_and_loads_all_the_same() -> None:
    yaml = text((CLOSED, CORRECTION))
    assert load_procedure(yaml).steps["correction"]
    with pytest.raises(InvalidInput, match=r"line \d+, steps\.decide: A case can be decided here"):
        refuse_unpublishable(yaml)
    refuse_unpublishable(text((SIGN, SIGN + "      - {on: approved, to: examine}\n")))
