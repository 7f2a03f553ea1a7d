"""What the receipt of an application says: who received it when, what is missing, until when, and what then."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

from pydantic import BaseModel, ConfigDict

from diwan.domain.case import CaseState
from diwan.domain.text import Localized
from diwan.procedures.parts import Appeal
from diwan.procedures.periods import calendar_of
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import Nature


class MissingPiece(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    label: Localized
    hint: Localized | None = None


class ReceiptFacts(BaseModel):
    """`missing` goes by what the sender said each document is, so it is provisional until the dossier is read.

    `decision_due_on` is the last day of the legal period, None where the procedure has none; `silence` says what it
    means that nothing came by then.
    """

    model_config = ConfigDict(frozen=True)

    title: Localized
    office: Localized
    notice: Localized | None
    received_on: date
    missing: list[MissingPiece]
    decision_due_on: date | None
    silence: Localized | None
    appeal: Appeal


def receipt_facts(
    procedure: Procedure, state: CaseState, pieces_declared: Collection[str], now: datetime
) -> ReceiptFacts:
    """What to print on the receipt of a case that stands at `state`.

    `pieces_declared`: the names that the sender gave to its documents; `now` counts where no period began yet.
    """
    legal = [
        (name, period)
        for name, period in procedure.periods.items()
        if period.nature is Nature.FATAL and period.silence and period.silence.result and name in state.periods
    ]
    running = [(state.periods[name], period) for name, period in legal]
    earliest = min(running, key=lambda pair: pair[0].due_on, default=None)
    return ReceiptFacts(
        title=procedure.title,
        office=procedure.office,
        notice=procedure.notice,
        received_on=earliest[0].started_on if earliest else calendar_of(procedure).day_of(now),
        missing=[
            MissingPiece(name=name, label=procedure.pieces[name].label, hint=procedure.pieces[name].hint)
            for name in procedure.required_pieces
            if name not in pieces_declared
        ],
        decision_due_on=earliest[0].due_on if earliest else None,
        silence=earliest[1].silence.text if earliest and earliest[1].silence else None,
        appeal=procedure.appeal,
    )
