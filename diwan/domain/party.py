"""Natural and legal persons concerned by a case."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from diwan.domain.text import Language


class PartyRole(StrEnum):
    APPLICANT = "applicant"
    REPRESENTATIVE = "representative"
    HOUSEHOLD_MEMBER = "household_member"
    GUARDIAN = "guardian"
    HEIR = "heir"
    THIRD_PARTY = "third_party"


class Party(BaseModel):
    """Personal data: stored as ciphertext only. `address` is one postal block, newline separated."""

    model_config = ConfigDict(extra="forbid")

    role: PartyRole
    name: str = Field(min_length=1, max_length=200)
    language: Language = Language.FR
    identity_number: str = Field(default="", max_length=40)
    address: str = Field(default="", max_length=500)
    contact: str = Field(default="", max_length=200)
