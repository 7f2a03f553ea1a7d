"""Searching the ledger: the shapes of what is asked and answered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from diwan.web.limits import Limits


def _short(value: str) -> str:
    """What a ledger header has room for: a search is put on record as it was asked."""
    if len(value.encode()) > _MOST_BYTES or not value.isprintable():
        raise ValueError(f"at most {_MOST_BYTES} printable bytes")
    return value


_MOST_BYTES = 200
Text = Annotated[str, Field(max_length=_MOST_BYTES), AfterValidator(_short)]


class EntryQuery(BaseModel):
    """What is looked for: all that is said has to hold. `case` is an id or a number, `actor` a subject, `procedure` a
    name, `version` one of its versions, `kind` a kind of entry (`task:act:recorded`); `overridden`: a person decided
    otherwise than was proposed. `since` is within the time, `until` is not."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    case: Text = ""
    actor: Text = ""
    kind: Text = ""
    tool: Text = ""
    model: Text = ""
    procedure: Text = ""
    version: Text = ""
    overridden: bool | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    cursor: Annotated[str, Field(max_length=300, description="`next` of the page before")] = ""
    limit: Annotated[int, Field(ge=1, le=Limits.page_size_max)] = Limits.page_size


class PersonQuery(EntryQuery):
    """As `EntryQuery`; entries of cases that have a party of this name (as it is written, but for case, accents and
    spaces) or this identity number, or of both."""

    name: Text = ""
    identity_number: Annotated[str, Field(max_length=80)] = ""


class EntryView(BaseModel):
    """An entry of the ledger and its place: leaf `index` of the log `log`. `header` is all that it says; its canonical
    JSON is what `hash` is of."""

    log: str
    index: int
    chain: str
    seq: int
    hash: str
    header: dict[str, Any]


class EntriesView(BaseModel):
    """`next` is the cursor of the following page. Entries with a place in the log are searched: `waiting` have none
    yet (10000 stands for more)."""

    items: list[EntryView]
    next: str | None = None
    waiting: int
