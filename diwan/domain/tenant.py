"""What a ministry says of itself: how its letters introduce it, who may sign them by which name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from diwan.domain.text import Localized


class Signatory(BaseModel):
    """A competent authority as letters name it. Public: it signs in this name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Localized
    title: Localized


class TenantSettings(BaseModel):
    """`signatories` by the subject of their access tokens. `sample` prints every letter as a specimen.

    `place` is the town in front of a letter's date; `contact` one line a way of reaching the office.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Localized
    place: Localized
    address: Localized
    contact: str = ""
    digits: Literal["western", "arabic_indic"] = "western"
    sample: bool = False
    signatories: dict[str, Signatory] = Field(default_factory=dict[str, Signatory])
