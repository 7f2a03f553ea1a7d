"""A ministry: how its letters introduce it, who sends to it, who signs for it, where its events go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from diwan.domain.case import Result
from diwan.domain.data import DataClass
from diwan.domain.erasure import LONGEST_BASIS
from diwan.domain.text import Localized


class Signatory(BaseModel):
    """A competent authority as letters name it. Public: it signs in this name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Localized
    title: Localized


def _once_each(days: tuple[date, ...]) -> tuple[date, ...]:
    twice = _listed(day for day in set(days) if days.count(day) > 1)
    if twice:
        raise ValueError(f"{twice} stands twice")
    return tuple(sorted(days))


def _listed(days: Iterable[date]) -> str:
    return ", ".join(day.isoformat() for day in sorted(days))


Days = Annotated[tuple[date, ...], AfterValidator(_once_each), Field(max_length=1000)]


OutsideAddress = Annotated[str, Field(pattern=r"^https://[a-z0-9.:\[\]-]+$", max_length=200)]


class OutsideEngine(BaseModel):
    """An engine outside the perimeter that may see data of these classes; `address` as the registry has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: OutsideAddress
    data_classes: frozenset[DataClass] = Field(min_length=1)


def _unsaid(value: str) -> bool:
    return not value


def _usual(weight: float) -> bool:
    """Keeps the usual one out of the file's digest on the ledger, which is older than weights."""
    return weight == 1.0


class Kept(BaseModel):
    """For how many months, after which it is erased, and by which text of law."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    months: int = Field(le=1200)
    legal_basis: str = Field(default="", max_length=LONGEST_BASIS)


class KeptWithoutCase(BaseModel):
    """For how long what belongs to no case is kept: events that were put away, and for whom auditors searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    put_away: Kept = Kept(months=24)
    searches: Kept = Kept(months=36)

    @model_validator(mode="after")
    def _long_enough(self) -> KeptWithoutCase:
        for kept, least in ((self.put_away, 6), (self.searches, 12)):
            if kept.months < least:
                raise ValueError(f"{kept.months} months are fewer than {least}")
        return self


_AS_USUAL = KeptWithoutCase()


def _as_usual(kept: KeptWithoutCase) -> bool:
    return kept == _AS_USUAL


class TenantSettings(BaseModel):
    """`signatories` by the subject of their access tokens. `sample` prints every letter as a specimen.

    `place` is the town in front of a letter's date; `contact` one line a way of reaching the office. `closed_days` are
    no working days beside weekends and public holidays; `opened_days` are working days whatever else they are.
    `outside_engines` is the ministry's policy on engines outside its perimeter: without it none is ever asked. `weight`
    is its share of the engines where calls of several ministries wait that are equally urgent. `letters_checked_at` is
    the address that letters name for whoever wants to check one by its code. `kept_without_case`: docs/erasure.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Localized
    place: Localized
    address: Localized
    contact: str = ""
    digits: Literal["western", "arabic_indic"] = "western"
    sample: bool = False
    signatories: dict[str, Signatory] = Field(default_factory=dict[str, Signatory])
    closed_days: Days = ()
    opened_days: Days = ()
    outside_engines: tuple[OutsideEngine, ...] = Field(default=(), max_length=20)
    weight: float = Field(default=1.0, ge=0.001, le=1000, exclude_if=_usual)
    kept_without_case: KeptWithoutCase = Field(default=_AS_USUAL, exclude_if=_as_usual)
    letters_checked_at: str = Field(default="", pattern=r"^(https?://[!-~]+)?$", max_length=120, exclude_if=_unsaid)

    @model_validator(mode="after")
    def _not_both(self) -> TenantSettings:
        both = set(self.closed_days) & set(self.opened_days)
        if both:
            raise ValueError(f"{_listed(both)} cannot be both closed and opened")
        return self


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SourceBinding(_Declared):
    """`client` (the `sub` of its tokens) may speak for the CloudEvents `source`."""

    source: str = Field(min_length=1, max_length=200)
    client: str = Field(min_length=1, max_length=120)


class DelegationGrant(_Declared):
    """`subject` may sign these results of `procedure`, up to `amount_limit` (none: any), on these days, both included.

    `reference` is the act that gave it, as letters cite it; `revoked_on` the first day on which it no longer holds.
    """

    id: str = Field(min_length=1, max_length=120)
    subject: str = Field(min_length=1, max_length=120)
    procedure: str
    results: tuple[Result, ...] = Field(min_length=1)
    amount_limit: int | None = Field(default=None, ge=0)
    valid_from: date
    valid_to: date
    reference: str = Field(min_length=1, max_length=200)
    revoked_on: date | None = None


class Webhook(_Declared):
    """`secret` names a file in DIWAN_WEBHOOK_SECRETS; the secret itself is never here."""

    id: str = Field(min_length=1, max_length=120)
    url: str = Field(pattern=r"^https?://")
    secret: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")
    active: bool = True


class Ministry(_Declared):
    """The file that `diwan tenant apply` takes. What it no longer names stays as it was."""

    tenant: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    settings: TenantSettings
    sources: tuple[SourceBinding, ...] = ()
    delegations: tuple[DelegationGrant, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
