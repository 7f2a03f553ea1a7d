"""Owns what `diwan demo` says in the end: a line for each dossier, the ledger, where to look next."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from diwan.cli.demo_checks import amount_of, steps_by
from diwan.cli.demo_play import Played
from diwan.cli.demo_samples import Sample
from diwan.cli.output import Column, table

Json = dict[str, Any]

ENGINE_NOTE = "The engine of the demo is rules, not a language model."
INVENTED_NOTE = "The ministry, its law and all people are invented."
_NARROW = 100
_LINES = (
    Column("Dossier", "name"),
    Column("Number", "number", keep=True),
    Column("Lang", "language", keep=True),
    Column("Result", "result", keep=True),
    Column("Amount", "amount", right=True),
    Column("Agent", "agent_steps", right=True),
    Column("People", "person_steps", right=True),
    Column("Letters", "letters", right=True),
    Column("Entries", "entries", right=True),
    Column("OK", "as_expected", keep=True),
)


@dataclass(frozen=True)
class Outcome:
    """A sample dossier with how it went; `played` is None where it did not come to its end."""

    sample: Sample
    played: Played | None
    differences: list[str]


@dataclass(frozen=True)
class Report:
    """`ledger` is the report of the check of all its entries; `problem` names its first bad one, if there is one."""

    home: Path
    outcomes: list[Outcome]
    ledger: Json
    problem: str
    seconds: float
    letters: Path
    logs: Path

    @property
    def differences(self) -> list[str]:
        """What came out otherwise than it should, in the order of the dossiers; empty where all is well."""
        found = [f"{outcome.sample.name}: {text}" for outcome in self.outcomes for text in outcome.differences]
        return [*found, self.problem] if self.problem else found

    def as_json(self) -> Json:
        return {
            "home": str(self.home),
            "ok": not self.differences,
            "engine": ENGINE_NOTE,
            "dossiers": [line(outcome) for outcome in self.outcomes],
            "ledger": self.ledger,
            "seconds": round(self.seconds, 1),
            "letters": str(self.letters),
            "logs": str(self.logs),
        }

    def picture(self, width: int) -> RenderableType:
        rows = [_row(outcome) for outcome in self.outcomes]
        checked = self.ledger
        ledger = (
            f"Ledger: {checked['entries']} entries in {checked['chains']} chains recomputed, "
            f"{checked['bodies']} sealed bodies opened and compared, {checked.get('placed', 0)} entries in the signed "
            f"tree; {self.problem or 'all of it holds'}."
        )
        shown = next((row["number"] for row in rows if row["number"]), "NUMBER")
        program = sys.argv[0] if Path(sys.argv[0]).name == "diwan" else "diwan"
        hints = [
            f"Letters as PDF:   {self.letters}",
            f"Logs:             {self.logs}",
            f"Then:             export DIWAN_HOME={self.home}",
            f"                  {program} up    and in another terminal    {program} case show {shown} --story",
        ]
        return Group(
            table([column for column in _LINES if width >= _NARROW or column.key != "number"], rows, width=width),
            Text(""),
            Text(ledger),
            Text(f"{ENGINE_NOTE} {INVENTED_NOTE}"),
            *(Text(hint, overflow="fold") for hint in hints),
        )


def line(outcome: Outcome) -> Json:
    """A dossier's line: steps are those in which an agent or a person did the work, entries those on the ledger."""
    played = outcome.played
    return {
        "name": outcome.sample.name,
        "number": played.case["number"] if played else "",
        "language": outcome.sample.language,
        "result": played.case["result"] if played else None,
        "amount": amount_of(played.case) if played else None,
        "agent_steps": steps_by(played, "agent") if played else 0,
        "person_steps": steps_by(played, "person") if played else 0,
        "letters": [letter.kind for letter in played.letters] if played else [],
        "entries": len(played.story) if played else 0,
        "as_expected": not outcome.differences,
        "differences": outcome.differences,
    }


def _row(outcome: Outcome) -> Json:
    """As a table shows it: a name of words, which can be broken over lines."""
    shown = line(outcome)
    return {**shown, "name": shown["name"].replace("-", " "), "letters": len(shown["letters"])}
