"""Erasing what keys seal, a case's or no case's: why it goes, how far it has come, what keeps it from going."""

from __future__ import annotations

from enum import StrEnum

LONGEST_BASIS = 200  # characters of the text of law that an erasure names: what the header of an entry holds


class Ground(StrEnum):
    """Why data are to be erased."""

    RETENTION = "retention"  # the procedure says for how long they are kept, and that is over
    REQUEST = "request"  # the person whom they are about asks for it
    UNLAWFUL = "unlawful"  # they should never have been kept
    ORDER = "order"  # a court or a supervisory authority orders it


class ErasureStatus(StrEnum):
    """`started` is the point of no return: the keys are being destroyed, and whoever finds it so goes on."""

    ASKED = "asked"
    APPROVED = "approved"
    DECLINED = "declined"
    STARTED = "started"
    DONE = "done"


class ScopeRule(StrEnum):
    """By which rule keys that are no case's are destroyed."""

    UPLOAD = "upload"  # an upload that no event named in time: removed
    PUT_AWAY = "put_away"  # an event that matched no case and that a person put away
    SEARCHES = "searches"  # for whom auditors searched in a month


class Hindrance(StrEnum):
    """What keeps a case's data from being erased now."""

    HOLD = "hold"  # an authority has put a legal hold on it
    OPEN = "open"  # it is not closed
    INBOX = "inbox"  # something that came in has not been looked at yet
    TASK = "task"  # somebody still has a task of it
    RERUN = "rerun"  # a call of it is being sent again


WORDS: dict[Hindrance, tuple[str, str]] = {
    Hindrance.HOLD: ("A legal hold is on this case.", "Ask the authority that put it there to lift it."),
    Hindrance.OPEN: ("The case is not closed.", "Close it first; what is still needed is not erased."),
    Hindrance.INBOX: ("Something that came in for this case has not been taken up yet.", "Try again in a minute."),
    Hindrance.TASK: ("Somebody still has a task of this case.", "Complete it first: diwan task list"),
    Hindrance.RERUN: ("A recorded call of this case is being sent again.", "Try again when that has ended."),
}
