"""From what a letter says to its paragraphs: which phrases, in which order, with which values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch

from diwan.documents.content import (
    Contest,
    Decision,
    Explanation,
    HeldFact,
    Letter,
    Receipt,
    Remedy,
    Reminder,
    RequestForPieces,
    StatedGround,
    Withdrawal,
)
from diwan.documents.formats import Formats
from diwan.documents.phrases import Run, Value, counted, free, identifier, phrase, plain
from diwan.documents.sheet import Block, Sheet
from diwan.domain.facts import Provenance

Runs = tuple[Run, ...]


class _Words:
    """Phrases and formats of one letter."""

    def __init__(self, letter: Letter, kind: str = "") -> None:
        self._letter = letter
        self._kind = kind or letter.kind
        self.formats = Formats(letter.language, letter.digits)
        self._always: dict[str, Value] = {"case_number": identifier(letter.case_number)}

    def say(self, key: str, **values: Value) -> Runs:
        return tuple(phrase(self._letter.language, f"{self._kind}.{key}", **self._always, **values))

    def count(self, key: str, count: int) -> Runs:
        number = self.formats.number(count)
        return tuple(counted(self._letter.language, f"{self._kind}.{key}", count, number, **self._always))

    def days(self, days: int) -> str:
        number = self.formats.number(days)
        return "".join(run.text for run in counted(self._letter.language, "days", days, number))

    def label(self, key: str) -> str:
        return plain(self._letter.language, f"labels.{key}", page="{page}", pages="{pages}")

    def heading(self, key: str) -> Block:
        return Block("heading", self.say(key))

    def paragraph(self, *keys: str, **values: Value) -> Block:
        """One paragraph of the phrases of `keys`, a space between."""
        runs: list[Run] = []
        for key in keys:
            runs += [Run("text", " ")] * bool(runs) + list(self.say(key, **values))
        return Block("paragraph", tuple(runs))


def compose(letter: Letter) -> Sheet:
    """The paragraphs of `letter` in reading order."""
    words = _Words(letter)
    title, blocks, signature = _body(letter, words)
    applicant = letter.applicant
    meta = [
        (words.label("case_number"), identifier(letter.case_number)),
        (words.label("number"), identifier(letter.number)),
        (words.label("procedure"), free(letter.procedure)),
    ]
    if letter.reference:
        meta.append((words.label("reference"), identifier(letter.reference)))
    if applicant.identity_number:
        meta.append((words.label("identity_number"), identifier(applicant.identity_number)))
    date = words.formats.date(letter.date)
    return Sheet(
        language=letter.language,
        title=title,
        office=tuple(part.strip() for part in letter.office.name.split(" — ")),
        office_details=(*_lines(letter.office.address), *_lines(letter.office.contact)),
        place_and_date=tuple(phrase(letter.language, "labels.place_and_date", place=free(letter.place), date=date)),
        meta=tuple(meta),
        to=words.label("to"),
        addressee=(applicant.name, *_lines(applicant.address)),
        blocks=tuple(blocks),
        signature=signature,
        footer=words.label("page"),
        footer_reference=letter.number,
        specimen=words.label("specimen") if letter.sample else "",
        notice=letter.notice,
        code=letter.code,
        code_label=words.label("code"),
        check=_check(letter),
    )


def _check(letter: Letter) -> Runs:
    if not letter.code:
        return ()
    key = "labels.check_at" if letter.check_at else "labels.check"
    where = {"address": identifier(letter.check_at)} if letter.check_at else {}
    return tuple(phrase(letter.language, key, code=identifier(letter.code), **where))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _list(items: Iterable[Runs]) -> Block:
    return Block("list", items=tuple((item,) for item in items))


def _labelled(label: str, *notes: str) -> Runs:
    runs = [free(label)]
    for note in notes:
        if note:
            runs += [Run("text", " — "), free(note)]
    return tuple(runs)


@singledispatch
def _body(letter: Letter, words: _Words) -> tuple[str, list[Block], tuple[Runs, ...]]:
    """Title, paragraphs and signature of one kind of letter."""
    raise TypeError(type(letter).__name__)


@_body.register
def _(letter: Receipt, words: _Words) -> tuple[str, list[Block], tuple[Runs, ...]]:
    received_on = words.formats.date(letter.received_on)
    blocks = [
        words.paragraph("received", procedure=free(letter.procedure), received_on=received_on),
        words.paragraph("meaning"),
        words.heading("pieces_title"),
        Block("paragraph", words.count("pieces", len(letter.pieces) + letter.unnamed)),
    ]
    received: list[Runs] = [(free(piece),) for piece in letter.pieces]
    if letter.unnamed:
        received.append(words.count("unnamed", letter.unnamed))
    blocks += [_list(received), words.heading("missing_title"), *_missing(letter, words)]
    blocks.append(words.heading("period_title"))
    if letter.decision_due_on is None:
        blocks.append(words.paragraph("no_period"))
    else:
        blocks.append(words.paragraph("due", "suspension", due=words.formats.date(letter.decision_due_on)))
        if letter.silence:
            blocks.append(Block("paragraph", (free(letter.silence),)))
    blocks += [
        words.heading("contest_title"),
        words.paragraph(
            "contest",
            administrative_to=free(letter.contest.administrative.to),
            administrative_days=words.days(letter.contest.administrative.days),
            court_to=free(letter.contest.court.to),
            court_days=words.days(letter.contest.court.days),
        ),
    ]
    return _title(words), blocks, ()


def _missing(letter: Receipt, words: _Words) -> list[Block]:
    if letter.missing is None:
        return [words.paragraph("missing_unknown")]
    blocks = [Block("paragraph", words.count("missing", len(letter.missing)))]
    if letter.missing:
        named = _list(_labelled(piece.label, piece.hint) for piece in letter.missing)
        blocks += [named, words.paragraph("missing_note")]
    return blocks


@_body.register
def _(letter: RequestForPieces, words: _Words) -> tuple[str, list[Block], tuple[Runs, ...]]:
    blocks = [
        Block("paragraph", words.count("asked", len(letter.pieces))),
        _asked(letter, words),
        words.heading("until_title"),
        words.paragraph("until", "how", until=words.formats.date(letter.until)),
    ]
    if letter.how:
        blocks += [words.paragraph("how_more"), _list((free(way),) for way in letter.how)]
    blocks += [
        words.heading("suspension_title"),
        words.paragraph("suspension", suspended_on=words.formats.date(letter.suspended_on)),
        words.heading("effect_title"),
    ]
    if letter.effect:
        blocks.append(Block("paragraph", (free(letter.effect),)))
    blocks.append(words.paragraph("once"))
    return _title(words), blocks, ()


def _asked(letter: RequestForPieces | Reminder, words: _Words) -> Block:
    return _list(
        _labelled(piece.label, "".join(run.text for run in words.say(f"why.{piece.why.value}")), piece.note)
        for piece in letter.pieces
    )


@_body.register
def _(letter: Reminder, words: _Words) -> tuple[str, list[Block], tuple[Runs, ...]]:
    asked_on = words.formats.date(letter.asked_on)
    blocks = [
        words.paragraph("asked", request=identifier(letter.request), asked_on=asked_on),
        Block("paragraph", words.count("pieces", len(letter.pieces))),
        _asked(letter, words),
        words.heading("until_title"),
        words.paragraph("until", "how", until=words.formats.date(letter.until)),
        words.heading("effect_title"),
    ]
    if letter.effect:
        blocks.append(Block("paragraph", (free(letter.effect),)))
    blocks += [words.paragraph("same"), words.paragraph("crossed")]
    return _title(words), blocks, ()


@_body.register
def _(letter: Decision, words: _Words) -> tuple[str, list[Block], tuple[Runs, ...]]:
    title = "".join(run.text for run in words.say(f"title.{letter.result.value}"))
    blocks = [
        words.paragraph("basis"),
        _list((free(text),) for text in letter.legal_basis),
        words.paragraph("about"),
        _result(letter, words),
    ]
    if letter.conditions:
        blocks += [words.heading("conditions_title"), _list((free(text),) for text in letter.conditions)]
    blocks += [
        words.heading("grounds_title"),
        _list(_ground(ground, words) for ground in letter.grounds),
    ]
    if letter.facts:
        blocks += [words.heading("facts_title"), _facts(letter.facts, words)]
    blocks += [words.heading("agent_title"), _agent(letter, words), words.heading("contest_title")]
    blocks.append(_contest(letter.contest, words))
    signatory = letter.signatory
    lines: list[Runs] = [(free(signatory.title),), (free(signatory.name),)]
    if signatory.delegation:
        # An act is cited in the law's language, whatever the letter's.
        lines.append(words.say("delegation", delegation=free(signatory.delegation)))
    return title, blocks, tuple(lines)


@_body.register
def _(letter: Withdrawal, words: _Words) -> tuple[str, list[Block], tuple[Runs, ...]]:
    blocks = [
        words.paragraph("withdrawn", received_on=words.formats.date(letter.received_on)),
        words.paragraph("effect", "again"),
        words.paragraph("not_you"),
    ]
    return _title(words), blocks, ()


@_body.register
def _(letter: Explanation, words: _Words) -> tuple[str, list[Block], tuple[Runs, ...]]:
    decided = _Words(letter, "decision")
    blocks = [
        words.paragraph(
            "about", decision=identifier(letter.decision), decided_on=words.formats.date(letter.decided_on)
        ),
        _result(letter, decided),
        words.heading("reasons_title"),
        words.paragraph("reasons"),
        _list(_ground(ground, decided) for ground in letter.grounds),
    ]
    if letter.facts:
        blocks += [words.heading("data_title"), words.paragraph("data"), _facts(letter.facts, decided)]
    quoted = [fact for fact in letter.facts if fact.quote]
    if quoted:
        blocks += [words.paragraph("quotes"), _list(_labelled(fact.label, fact.quote) for fact in quoted)]
    blocks += [words.heading("agent_title"), *_software(letter, words, decided)]
    blocks += [words.heading("people_title"), words.paragraph("rights_of_people")]
    if letter.agent is not None:
        blocks.append(decided.paragraph("agent_edited" if letter.agent.edited else "agent_approved", "agent_decided"))
    changed = (*letter.changed, *(fact.label for fact in letter.facts if fact.by_person))
    if changed:
        blocks += [words.paragraph("changed"), _list((free(label),) for label in dict.fromkeys(changed))]
    blocks.append(words.paragraph("signed", name=free(letter.signatory.name), title=free(letter.signatory.title)))
    blocks += [words.heading("rights_title"), words.paragraph("rights"), _contest(letter.contest, decided)]
    return _title(words), blocks, ()


def _software(letter: Explanation, words: _Words, decided: _Words) -> list[Block]:
    if letter.agent is None:
        return [decided.paragraph("agent_none")]
    part = "agent_rules_only" if letter.agent.rules_only else "agent"
    counts = [words.say("asked", n=words.formats.number(letter.asked))]
    if letter.unfound:
        counts.append(words.say("unfound", n=words.formats.number(letter.unfound)))
    return [decided.paragraph(part, "agent_rules", model=free(letter.agent.model)), _list(counts)]


def _result(letter: Decision | Explanation, words: _Words) -> Block:
    result = [*words.say(f"result.{letter.result.value}")]
    if letter.amount is not None:
        amount = words.formats.amount(letter.amount, letter.currency)
        result += [Run("text", " "), *words.say("amount", amount=amount)]
    return Block("result", tuple(result))


def _facts(facts: Iterable[HeldFact], words: _Words) -> Block:
    head = tuple(words.say(f"facts_{column}") for column in ("fact", "value", "source"))
    rows = ((((free(fact.label)),), _fact_value(fact, words), _source(fact, words)) for fact in facts)
    return Block("facts", items=(head, *rows))


def _title(words: _Words) -> str:
    return "".join(run.text for run in words.say("title"))


def _ground(ground: StatedGround, words: _Words) -> Runs:
    text: Runs = (free(ground.text),)
    if not ground.legal_basis:
        return text
    return (*text, Run("text", " "), *words.say("ground_basis", basis=free(ground.legal_basis)))


def _fact_value(fact: HeldFact, words: _Words) -> Runs:
    text = words.formats.value(fact.value, fact.currency)
    return (free(text) if isinstance(fact.value, str) else Run("text", text),)


def _source(fact: HeldFact, words: _Words) -> Runs:
    if fact.provenance is Provenance.DECLARED:
        return words.say("declared")
    if fact.provenance is Provenance.REGISTRY:
        if fact.as_of is None:
            return words.say("registry_no_date")
        return words.say("registry", as_of=words.formats.date(fact.as_of))
    document = free(fact.document) if fact.document else words.say("some_document")[0]
    if fact.page is None:
        return words.say("document_no_page", document=document)
    return words.say("document", document=document, page=words.formats.number(fact.page))


def _agent(letter: Decision, words: _Words) -> Block:
    if letter.agent is None:
        return words.paragraph("agent_none")
    return words.paragraph(
        "agent_rules_only" if letter.agent.rules_only else "agent",
        "agent_rules",
        "agent_edited" if letter.agent.edited else "agent_approved",
        "agent_decided",
        model=free(letter.agent.model),
    )


def _contest(contest: Contest, words: _Words) -> Block:
    def way(key: str, remedy: Remedy) -> Runs:
        if remedy.text:
            return (*words.say(f"{key}_way", to=free(remedy.to)), Run("text", " "), free(remedy.text))
        return words.say(key, to=free(remedy.to), days=words.days(remedy.days))

    return _list([way("contest_administrative", contest.administrative), way("contest_court", contest.court)])
